/** The dashboards that compose mounts: their layout, and each query of the gateway's dashboard against a real data source. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { describeMetrics } from '../../../src/metrics/describe.ts'
import { connectClient, startGateway } from '../../helpers/gateway.ts'
import { runOperated } from '../../helpers/operator.ts'
import { createTestDir } from '../../helpers/postgres.ts'
import { ROOT } from '../../helpers/program.ts'
import { NO_PROMETHEUS, startPrometheus } from '../../helpers/prometheus.ts'
import { until } from '../../helpers/until.ts'
import { expandSql, gateway, log, patient, queriesOf, several, streams } from './dashboards.ts'
import { copyPrometheusFiles } from './prometheus-files.ts'
import { connectPostgres, createComposeDatabase } from './roles.ts'

const COMPOSE = join(ROOT, 'scripts/compose')
const ALL = [gateway, patient, several, log, streams]
const promQueries = queriesOf('expr', gateway)
/** Panels without data while nothing is wrong: there is no certificate, and no alert fires. */
const EMPTY = new Set(['Certificate'])

for (const { uid, panels } of ALL) {
  t.test(`${uid}: panels have ids of their own and do not overlap`, (t) => {
    t.equal(new Set(panels.map(({ id }) => id)).size, panels.length)
    const overlaps = panels.flatMap(({ title, gridPos: a }, index) => panels.slice(index + 1)
      .filter(({ gridPos: b }) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h)
      .map((other) => `${title} / ${other.title}`))
    t.strictSame(overlaps, [])
    t.ok(panels.every(({ gridPos }) => gridPos.x + gridPos.w <= 24))
    t.end()
  })
}

t.test('queries go to the provisioned data sources', async (t) => {
  const { datasources } = parse(await readFile(join(COMPOSE, 'grafana/provisioning/datasources/vital-gateway.yaml'), 'utf8')) as {
    datasources: Array<{ uid: string, jsonData: { maxOpenConns?: number } }>
  }
  t.strictSame(datasources.map(({ uid }) => uid), ['vital-prometheus', 'vital-postgres'])
  t.strictSame(datasources.flatMap(({ jsonData: { maxOpenConns } }) => maxOpenConns ?? []), [10])
  for (const { expr, datasource } of ALL.flatMap(({ panels }) => panels.flatMap(({ targets = [] }) => targets))) {
    t.equal(datasource.uid, expr === undefined ? 'vital-postgres' : 'vital-prometheus')
  }
})

t.test('the README has a line for each panel', async (t) => {
  const readme = await readFile(join(COMPOSE, 'README.md'), 'utf8')
  const titles = ALL.flatMap(({ panels }) => panels.filter(({ type }) => type !== 'row').map(({ title }) => title))
  const named = new Set([...readme.matchAll(/^\| ([^|]+) \|/gm)].flatMap(([, cell = '']) => [cell, ...cell.split(', ')]))
  const isNamed = (title: string) => named.has(title) || named.has(title.replace(/^Averages: /, ''))
  t.strictSame([...new Set(titles)].filter((title) => !isNamed(title)), [])
})

t.test('the dashboards use only existing metrics', (t) => {
  const described = new Set(describeMetrics().registry.getMetricsAsArray().map(({ name }) => name))
  const asked = ALL.flatMap((dashboard) => queriesOf('expr', dashboard))
    .flatMap(({ query }) => query.match(/\bvital_[a-z_]+[a-z]\b/g) ?? [])
    .map((name) => name.replace(/_(?:bucket|sum|count)$/, ''))
  t.strictSame([...new Set(asked)].filter((name) => !described.has(name) && name !== 'vital_readings'), [])
  t.ok(promQueries.some(({ query }) => query.includes('vital_ack_duration_seconds_bucket')))
  t.end()
})

t.test('a device id reaches SQL quoted', (t) => {
  for (const { query } of [gateway, patient].flatMap((dashboard) => queriesOf('rawSql', dashboard))) {
    t.notMatch(query.replaceAll('$' + '{device:sqlstring}', ''), /\$device|\$\{|'\$/)
  }
  t.end()
})

t.test('the SQL of the gateway\'s dashboard answers', async (t) => {
  const { gatewayUrl, grafanaUrl } = await createComposeDatabase(t)
  const { mqttPort } = await startGateway(t, { DATABASE_URL: gatewayUrl })
  const client = await connectClient(t, mqttPort)
  await client.publishAsync("vital/o'brien", '{"timestamp":1e9,"heartRateValue":61}', { qos: 1 })
  await client.publishAsync("vital/o'brien", Buffer.from([0, 255, 65]), { qos: 1 })
  const grafana = await connectPostgres(t, grafanaUrl)
  const queries = queriesOf('rawSql', gateway)
  t.equal(queries.length, 4)
  for (const { title, query } of queries) t.equal((await grafana(expandSql(query))).length, 1, title)
})

t.test('Prometheus scrapes a gateway with the shipped files, and every query of a panel has an answer', {
  skip: NO_PROMETHEUS, timeout: 120_000
}, async (t) => {
  const { gatewayUrl } = await createComposeDatabase(t)
  const addCredential = async (id: string, role: string) => {
    const { status, stdout } = await runOperated('credentials', ['add', id, '--role', role], { DATABASE_URL: gatewayUrl })
    t.equal(status, 0)
    return stdout.trim()
  }
  const password = await addCredential('bed-7', 'device')
  const operator = await addCredential('prometheus', 'operator')
  // Silent devices are counted when `latest` is read, once a minute and at the start.
  const database = await connectPostgres(t, gatewayUrl)
  await database('insert into latest (device, time, oldest_time, vitals, vital_times) values (\'bed-6\', to_timestamp(1e9), now(), ' +
    '\'{}\', \'{}\')')
  const { mqttPort, httpPort, httpUrl } = await startGateway(t, {
    DATABASE_URL: gatewayUrl, VITAL_DEAD_LETTERS_MAX: '1', VITAL_SPOOL_BYTES_MAX: String(64 * 1024 * 1024)
  })
  // A stored reading, a duplicate, a dead letter, one beyond the room for dead letters, and a refused login.
  const client = await connectClient(t, mqttPort, { username: 'bed-7', password, clientId: 'bed-7' })
  const publish = (payload: string) => client.publishAsync('vital/bed-7', payload, { qos: 1 })
  const reading = `{"timestamp":${Date.now() / 1000},"heartRateValue":61}`
  for (const payload of [reading, reading, '{', '{', '{']) await publish(payload)
  t.equal((await fetch(`${httpUrl}/metrics`, { headers: { authorization: 'Bearer nonsense' } })).status, 401)

  const configFile = await copyPrometheusFiles(await createTestDir(t), {
    secret: operator, targets: { 'gateway:3000': `127.0.0.1:${httpPort}` }
  })
  const prometheus = await startPrometheus(t, configFile)
  // A rate needs two scrapes.
  const isScraped = async () => (await prometheus.query('count_over_time(vital_database_up[1m])'))[0]!.value >= 3
  await until(isScraped, 'Prometheus to scrape three times')
  for (const { title, query } of promQueries) {
    const samples = await prometheus.query(query.replaceAll('$__rate_interval', '20s').replaceAll('$__interval', '5s'))
    if (EMPTY.has(title)) t.same(samples, [], title)
    else t.ok(samples.length > 0, `${title}: ${query}`)
  }
  const one = async (expr: string) => (await prometheus.query(expr)).map(({ value }) => value)
  t.same(await one('up{job="vital-gateway"}'), [1])
  t.same(await one('vital_spool_bytes_max'), [64 * 1024 * 1024])
  t.same(await one('vital_devices_silent'), [1], 'bed-6, whose newest reading is of 2001')
  t.same(await one('sum(vital_readings_received_total)'), [5])
  const ledger = promQueries.filter(({ title }) => title === 'Ledger').map(({ query }) => query)
  t.same(await Promise.all(ledger.map(async (query) => (await one(query))[0])), [0, 5, 5, 0])
  type Rules = { groups: Array<{ rules: Array<{ name: string, health: string, lastError?: string }> }> }
  await until(async () => (await prometheus.get<Rules>('rules')).groups[0]!.rules.every(({ health }) => health !== 'unknown'),
    'the rules were evaluated')
  for (const { name, health, lastError } of (await prometheus.get<Rules>('rules')).groups[0]!.rules) {
    t.same([health, lastError], ['ok', undefined], name)
  }
})
