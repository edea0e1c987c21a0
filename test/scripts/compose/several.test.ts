/**
 * The parts of `docker compose --profile several up grafana-several`, without containers: each file that it mounts is run with
 * PostgreSQL, Redis, HAProxy and Prometheus of this machine.
 */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { exactly } from '../../helpers/exactly.ts'
import { freePort } from '../../helpers/free-port.ts'
import { connectClient, startGateway } from '../../helpers/gateway.ts'
import { NO_HAPROXY, startHaproxy } from '../../helpers/haproxy.ts'
import { createTestDir } from '../../helpers/postgres.ts'
import { ROOT } from '../../helpers/program.ts'
import { NO_PROMETHEUS, startPrometheus } from '../../helpers/prometheus.ts'
import { NO_REDIS } from '../../helpers/redis.ts'
import { ACCOUNT, BIN, createQuery, NO_REPLICATION, startPrimary } from '../../helpers/replication.ts'
import { until } from '../../helpers/until.ts'
import { queriesOf, several } from './dashboards.ts'
import { copyPrometheusFiles } from './prometheus-files.ts'

const fileOf = (path: string) => join(ROOT, 'scripts/compose', path)

interface Service {
  readonly profiles?: readonly string[]
  readonly environment?: Readonly<Record<string, string | number>>
  readonly depends_on?: Readonly<Record<string, unknown>>
  readonly healthcheck: { readonly test: readonly string[] }
}

const { services } = parse(await readFile(join(ROOT, 'compose.yaml'), 'utf8'), { merge: true, maxAliasCount: -1 }) as {
  services: Record<string, Service>
}

/** Runs a script as compose does. @throws Error with its output when it fails */
const runScript = (path: string, env: Record<string, string>) =>
  promisify(execFile)('sh', [fileOf(path)], { ...ACCOUNT, cwd: '/', env: { PATH: `${BIN}:${process.env['PATH']}`, ...env } })

/** A replica made by the shipped script. */
async function startReplica (t: Test, base: string, primaryPort: number) {
  const port = await freePort()
  const env = {
    PATH: `${BIN}:${process.env['PATH']}`,
    PGDATA: join(base, 'replica', 'data'),
    PGHOST: '127.0.0.1',
    PGPORT: String(primaryPort),
    PGUSER: 'replica',
    PGPASSWORD: 'follow'
  }
  const options = [`port=${port}`, 'listen_addresses=127.0.0.1', 'unix_socket_directories=', 'shared_buffers=16MB', 'max_connections=40']
  const start = () => {
    const child = spawn('sh', [fileOf('postgres/replica.sh'), ...options.flatMap((option) => ['-c', option])],
      { ...ACCOUNT, cwd: '/', env, stdio: 'ignore' })
    const exited = once(child, 'exit')
    return async () => {
      child.kill('SIGQUIT')
      await exited
    }
  }
  return { port, start }
}

/** A Redis started by the shipped script and file, without the paths in the file. */
async function startRedis (t: Test) {
  const dir = await createTestDir(t)
  const port = await freePort()
  const script = join(dir, 'start.sh')
  const config = join(dir, 'redis.conf')
  await writeFile(config, (await readFile(fileOf('redis/redis.conf'), 'utf8')).replace('dir /data', `dir ${dir}`))
  await writeFile(script, (await readFile(fileOf('redis/start.sh'), 'utf8'))
    .replaceAll('/tmp/', `${dir}/`).replaceAll('/etc/redis/redis.conf', config))
  const child = spawn('sh', [script, '--port', String(port), '--bind', '127.0.0.1'],
    { stdio: 'ignore', env: { PATH: process.env['PATH'], REDIS_PASSWORD: 'swordfish' } })
  const exited = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exited
  })
  const [, check = ''] = services['redis']!.healthcheck.test
  await until(() => promisify(execFile)('sh', ['-c', check.replace('redis-cli', `redis-cli -p ${port}`)],
    { env: { PATH: process.env['PATH'], REDISCLI_AUTH: 'swordfish' } }).then(() => true, () => false), 'Redis to be healthy')
  const url = String(services['gateway-1']!.environment!['REDIS_URL'])
    .replace('${' + 'REDIS_PASSWORD:-}', 'swordfish').replace('redis:6379', `127.0.0.1:${port}`)
  return { port, url }
}

const PROFILES = {
  several: ['gateway-1', 'gateway-2', 'haproxy', 'redis', 'replication', 'postgres-replica', 'prometheus-several', 'grafana-several'],
  scale: [
    'redis', 'replication', 'postgres-replica', 'kafka-1', 'kafka-2', 'kafka-3', 'topics', 'gateway-1-scale', 'gateway-2-scale',
    'sink-1', 'sink-2', 'haproxy-scale', 'prometheus-scale', 'grafana-scale'
  ]
}

t.test('a profile does not change the others, and its services wait for those that they need', (t) => {
  for (const [profile, expected] of Object.entries(PROFILES)) {
    const own = Object.keys(services).filter((name) => services[name]!.profiles?.includes(profile))
    t.strictSame(own, expected)
    const needed = new Set<string>()
    const visit = (name: string) => {
      if (needed.has(name)) return
      needed.add(name)
      Object.keys(services[name]!.depends_on ?? {}).forEach(visit)
    }
    visit(`grafana-${profile}`)
    t.strictSame([...needed].sort(), [...own, 'credentials', 'postgres'].sort(),
      'the last service starts all others, and no single gateway')
  }
  for (const [name, { environment }] of Object.entries(services)) {
    const asks = JSON.stringify(environment ?? {}).match(/\$\{(?:REDIS|POSTGRES_REPLICATION|KAFKA)_PASSWORD:[^}]*\}/g) ?? []
    t.ok(asks.every((text) => text.endsWith(':-}')), `${name} does not stop the default profile`)
  }
  t.end()
})

t.test('without its password each script stops, and says what to set', { skip: NO_REDIS || NO_REPLICATION }, async (t) => {
  await t.rejects(runScript('redis/start.sh', {}), /set REDIS_PASSWORD in \.env/)
  await t.rejects(runScript('postgres/prepare-primary.sh', {}), /set POSTGRES_REPLICATION_PASSWORD in \.env/)
  await t.rejects(runScript('postgres/replica.sh', { PGDATA: '/nowhere' }), /set POSTGRES_REPLICATION_PASSWORD in \.env/)
})

t.test('Redis evicts nothing, appends to its file, asks for a password, and limits the rights ' +
  'of the user', { skip: NO_REDIS }, async (t) => {
  const { port, url } = await startRedis(t)
  const client = new Redis(url)
  t.teardown(() => { client.disconnect() })
  const facts = await client.info()
  for (const fact of ['maxmemory_policy:noeviction', 'aof_enabled:1', 'maxmemory:536870912']) t.match(facts, new RegExp(`^${fact}\r$`, 'm'))
  t.equal(await client.set('vital:x', '1'), 'OK')
  await t.rejects(client.set('other', '1'), /NOPERM/)
  for (const command of ['FLUSHALL', 'KEYS *', 'CONFIG GET *', 'SHUTDOWN NOSAVE', 'CLIENT LIST', 'MONITOR']) {
    const [name = '', ...args] = command.split(' ')
    await t.rejects(client.call(name, ...args), /NOPERM/, command)
  }
  const stranger = new Redis({ port, lazyConnect: true, retryStrategy: () => null, enableReadyCheck: false })
  stranger.on('error', () => {})
  await stranger.connect()
  await t.rejects(stranger.ping(), /NOAUTH/)
  stranger.disconnect()
})

t.test('all parts together, and every query of the dashboard has an answer', {
  skip: NO_REDIS || NO_REPLICATION || NO_HAPROXY || NO_PROMETHEUS, timeout: 120_000
}, async (t) => {
  const { environment } = services['haproxy']!
  t.match(environment, { GATEWAY_1_HOST: 'gateway-1', GATEWAY_2_HOST: 'gateway-2', MQTT_BIND: ':1883', STATS_BIND: ':8405' })
  // A pg_hba.conf as the image makes it, which admits no replica from another machine.
  const primary = await startPrimary(t, { hba: 'host all all all scram-sha-256', password: 'superuser' })
  const prepare = () => runScript('postgres/prepare-primary.sh', {
    PGHOST: '127.0.0.1', PGPORT: String(primary.port), PGUSER: 'postgres', PGPASSWORD: 'superuser', POSTGRES_REPLICATION_PASSWORD: 'follow'
  })
  await prepare()
  await prepare()
  const [{ hba } = { hba: 0 }] = await primary.query<{ hba: number }>(
    "select count(*)::int as hba from pg_hba_file_rules where 'replication' = any(database) and error is null")
  t.equal(hba, 1, 'one line, although the script ran twice')
  const replica = await startReplica(t, primary.base, primary.port)
  let stopReplica = replica.start()
  t.teardown(() => stopReplica())
  const replicaUrl = `postgres://postgres:superuser@127.0.0.1:${replica.port}/postgres`
  const onReplica = createQuery(replicaUrl)
  await until(async () => (await onReplica('select 1')).length === 1, 'the replica to answer')
  t.strictSame(await onReplica('select pg_is_in_recovery() as is_replica'), [{ is_replica: true }])
  await stopReplica()
  stopReplica = replica.start()
  await until(async () => (await onReplica('select 1')).length === 1, 'the replica to answer after a restart, from its data')
  const slots = 'select slot_name, active, (select setting from pg_settings where name = \'max_slot_wal_keep_size\') as bound from ' +
    'pg_replication_slots'
  await until(async () => (await primary.query<{ active: boolean }>(slots))[0]?.active === true, 'it follows')
  t.match(await primary.query(slots), exactly({ slot_name: 'replica_1', bound: '8192' }))

  const redis = await startRedis(t)
  const variables = {
    DATABASE_URL: primary.url,
    DATABASE_READ_URL: replicaUrl,
    REDIS_URL: redis.url,
    VITAL_TRUSTED_PROXIES: '127.0.0.1',
    VITAL_DEAD_LETTERS_MAX: '1',
    VITAL_PROXY_PROTOCOL: String(services['gateway-1']!.environment!['VITAL_PROXY_PROTOCOL'])
  }
  const gateways = [await startGateway(t, variables), await startGateway(t, variables)]
  const haproxy = await startHaproxy(t, { gateways, serverOptions: String(environment!['HAPROXY_SERVER_OPTIONS']) })
  const [, , , health = ''] = services['haproxy']!.healthcheck.test
  await t.resolves(promisify(execFile)('bash', ['-c', health.replace('8405', String(haproxy.statsPort))]), 'the health check of HAProxy')

  const clients = await Promise.all(Array.from({ length: 8 },
    (_, n) => connectClient(t, haproxy.mqttPort, { clientId: `band-${n}` })))
  const heard = new Set<string>()
  const nurse = await connectClient(t, haproxy.mqttPort, { clientId: 'nurse', clean: false })
  nurse.on('message', (topic) => { heard.add(topic) })
  await nurse.subscribeAsync('vital/+', { qos: 1 })
  // A stored reading, a duplicate, a dead letter, and one beyond the room for dead letters.
  const reading = `{"timestamp":${Date.now() / 1000},"heartRateValue":61}`
  for (const payload of [reading, reading, '{', '{']) {
    await Promise.all(clients.map((client, n) => client.publishAsync(`vital/band-${n}`, payload, { qos: 1 })))
  }
  await until(() => heard.size === clients.length, 'one subscriber to hear devices of both gateways')
  await until(async () => (await onReplica('select from readings')).length === clients.length, 'the replica to have the readings')

  const configFile = await copyPrometheusFiles(await createTestDir(t), {
    secret: 'none',
    name: 'several.yml',
    targets: {
      'gateway-1:3000': `127.0.0.1:${gateways[0]!.httpPort}`,
      'gateway-2:3000': `127.0.0.1:${gateways[1]!.httpPort}`,
      'haproxy:8405': `127.0.0.1:${haproxy.statsPort}`,
      'scrape_interval: 5s': 'scrape_interval: 1s',
      'scrape_timeout: 4s': 'scrape_timeout: 1s'
    }
  })
  const prometheus = await startPrometheus(t, configFile)
  const scraped = 'min(count_over_time(up[1m])) >= 3 and count(count_over_time(up[1m])) == 3'
  await until(async () => (await prometheus.query(scraped)).length === 1, 'Prometheus to scrape all three, three times')
  t.strictSame((await prometheus.query('up == 1')).map(({ metric }) => metric['job']).sort(), ['haproxy', 'vital-gateway', 'vital-gateway'])
  const queries = queriesOf('expr', several)
  t.ok(queries.length > 50, `${queries.length} queries`)
  for (const { title, query } of queries) {
    t.ok((await prometheus.query(query.replaceAll('$__rate_interval', '10s'))).length > 0, `${title}: ${query}`)
  }
  const values = async (expr: string) => (await prometheus.query(expr)).map(({ value }) => value)
  const queryOf = (wanted: string) => queries.find(({ title }) => title === wanted)!.query
  const stat = (title: string) => values(queryOf(title))
  t.strictSame(await Promise.all(['Gateways', 'HAProxy', 'Redis', 'Database', 'Ledger', 'Pending', 'Lost between gateways'].map(stat)),
    [[2], [1], [1], [1], [0], [0], [0]])
  t.ok((await stat('Replica lag'))[0]! < 5)
  t.strictSame(await stat('Ledger by gateway'), [0, 0], 'each gateway balances by itself')
  t.strictSame(await values('sum(vital_readings_stored_total)'), [clients.length])
  t.ok((await values('sum(vital_cluster_messages_received_total)'))[0]! > 0, 'messages went through Redis')

  await haproxy.command('set server mqtt_gateways/gateway-2 state drain')
  await until(async () => (await prometheus.query(queryOf('Server states')))
    .some(({ metric }) => metric['server'] === 'gateway-2' && metric['state'] === 'DRAIN'), 'a drained gateway is shown as such')
})
