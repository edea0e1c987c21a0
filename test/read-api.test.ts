/** `vital-gateway api` on a real PostgreSQL, as a process of its own. */
import { readdir } from 'node:fs/promises'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { createConfig } from '../src/config/config.ts'
import { createReadApi } from '../src/read-api.ts'
import { createDatabaseSwitch } from './helpers/database-switch.ts'
import { openCredentials } from './helpers/credentials.ts'
import { exactly } from './helpers/exactly.ts'
import { startGateway } from './helpers/gateway.ts'
import { spawnGateway } from './helpers/gateway-process.ts'
import { createEmptyDatabase, createTestDatabase, createTestDir } from './helpers/postgres.ts'
import { NO_REPLICATION, startReplication } from './helpers/replication.ts'
import { until } from './helpers/until.ts'

interface Failure { readonly code: string, readonly details?: ReadonlyArray<{ readonly message: string }> }
interface Health { readonly status: string, readonly warnings: readonly string[], readonly spool?: unknown }

async function spawnApi (t: Test, variables: Record<string, string>) {
  const api = await spawnGateway(t, variables, { program: 'src/api-main.ts' })
  return { ...api, urlOf: async () => `http://127.0.0.1:${(await api.said(/^listening$/)).port}` }
}

async function readMetric (url: string, name: string): Promise<number> {
  return Number(new RegExp(`^${name} (.*)$`, 'm').exec(await (await fetch(`${url}/metrics`)).text())?.[1])
}

t.test('the API answers reads beside a gateway, and nothing else', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const gateway = await startGateway(t, { DATABASE_URL: connectionString })
  const readings = ['a', 'b', 'c'].map((device, index) => ({ device, timestamp: 1_750_240_800 + index, heartRateValue: 60 - index }))
  const post = (url: string) => fetch(`${url}/vital-data`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(readings)
  })
  await until(async () => (await post(gateway.httpUrl)).status === 202)
  // On a busy machine the readings may have gone to the spool.
  await until(async () => (await fetch(`${gateway.httpUrl}/vital-data/c`)).status === 200)
  const api = await spawnApi(t, { DATABASE_URL: connectionString })
  const url = await api.urlOf()
  await api.said(/^ready$/)
  const sorts = ['deviceId', 'timestamp', 'heartRate', 'breathRate'].flatMap((sort) => ['asc', 'desc'].map((order) => [sort, order]))
  const pages = sorts.map(([sort, order]) => `vital-data?sortBy=${sort}&orderBy=${order}&prefix=&count=2`.replace('prefix=&', ''))
  for (const path of [
    ...pages, 'vital-data?prefix=b', 'vital-data/a', 'vital-data/a/history', 'vital-data/a/history?every=5m&from=0', 'dead-letters'
  ]) {
    const [ours, theirs] = [await fetch(`${url}/${path}`), await fetch(`${gateway.httpUrl}/${path}`)]
    t.equal(ours.status, 200, path)
    const [here, there] = [await ours.json() as { next?: string | null }, await theirs.json() as { next?: string | null }]
    t.strictSame({ ...here, next: here.next == null }, { ...there, next: there.next == null }, path)
  }
  for (const [method, path] of [['POST', 'vital-data'], ['DELETE', 'vital-data/a']] as const) {
    const refused = method === 'POST' ? await post(url) : await fetch(`${url}/${path}`, { method })
    const { code, details } = await refused.json() as Failure
    t.match([refused.status, code, refused.headers.get('allow')], exactly(405, 'VITAL_METHOD_NOT_ALLOWED', 'GET, HEAD, OPTIONS'), path)
    t.match(details?.[0]?.message, /^is for a gateway: this process \(vital-gateway api\) answers reads alone$/)
  }
  const put = await (await fetch(`${url}/vital-data/a/history`, { method: 'PUT' })).json() as Failure
  t.equal(put.details, undefined, 'a gateway does not know this method either')
  for (const path of ['', 'events', 'app/config.json', 'mqtt']) t.equal((await fetch(`${url}/${path}`)).status, 404, path)
  const documents = await (await fetch(`${url}/docs/json`)).json() as { paths: Record<string, object> }
  t.strictSame(Object.keys(documents.paths['/vital-data']!), ['get'])

  const health = await (await fetch(`${url}/health/ready`)).json() as Health
  t.strictSame(health, { status: 'ready', database: { status: 'up' }, warnings: [] })
  await until(async () => await readMetric(url, 'vital_database_up') === 1)
  await until(async () => await readMetric(gateway.httpUrl, 'vital_device_order_trusted') === 1, 'the API not to count as a second gateway')

  const credentials = openCredentials(t, connectionString)
  const secret = await credentials.add('grafana', 'application')
  const read = (token: string) => fetch(`${url}/vital-data/a`, { headers: { authorization: `Bearer ${token}` } })
  await until(async () => (await fetch(`${url}/vital-data/a`)).status === 401, 'credentials to be asked for here, too')
  t.equal((await read(secret)).status, 200)
  await credentials.revoke('grafana')
  await until(async () => (await read(secret)).status === 401, 'the revocation to take effect')

  api.child.kill('SIGTERM')
  t.strictSame(await api.exited, [0, null])
  t.strictSame(await readdir(api.dataDir), [], 'the API writes no file')
  t.equal(api.stderr(), '')
})

t.test('without a gateway the API waits for the tables', async (t) => {
  const { connectionString } = await createEmptyDatabase(t)
  const api = await spawnApi(t, { DATABASE_URL: connectionString })
  const url = await api.urlOf()
  const waiting = await fetch(`${url}/health/ready`)
  t.equal(waiting.status, 503)
  t.equal((await fetch(`${url}/vital-data`)).status, 503)
  const isRefusal = ({ err }: (typeof api.lines)[number]) =>
    /the tables of this version are not there yet \(001-initial, .*start a gateway/.test(err?.message ?? '')
  t.ok(api.lines.some(isRefusal))
  t.equal(api.lines.some(({ msg }) => msg.includes('migrated')), false)
  await startGateway(t, { DATABASE_URL: connectionString })
  await api.said(/^ready$/)
  t.equal((await fetch(`${url}/vital-data`)).status, 200)
})

t.test('an error that ends the start is reported in one line', async (t) => {
  const api = await spawnGateway(t, {}, { program: 'scripts/vital-gateway.ts', args: ['api'] })
  t.strictSame(await api.exited, [1, null])
  t.match(api.stderr(), /^vital-gateway api needs DATABASE_URL: the PostgreSQL that gateways write to\. .*\n$/)

  const { connectionString, query } = await createTestDatabase(t)
  await query('insert into vital_migrations values (\'999-later\', \'\')')
  const config = createConfig({ DATABASE_URL: connectionString, VITAL_HTTP_PORT: '0', VITAL_DATA_DIR: await createTestDir(t) })
  const newer = createReadApi({ config, logger: pino({ level: 'silent' }) })
  await t.rejects(newer.start(), { code: 'VITAL_SCHEMA_NEWER' })
})

t.test('PostgreSQL goes away and comes back', async (t) => {
  const database = await createDatabaseSwitch(t)
  const config = createConfig({
    DATABASE_URL: database.connectionString, VITAL_HTTP_PORT: '0', VITAL_DATA_DIR: await createTestDir(t)
  })
  const api = createReadApi({ config, logger: pino({ level: 'silent' }) })
  t.teardown(() => api.stop())
  const { port } = await api.start()
  const ready = () => fetch(`http://127.0.0.1:${port}/health/ready`)
  t.equal((await ready()).status, 200)
  await database.off()
  await until(async () => (await ready()).status === 503, 'not ready')
  t.match(await (await ready()).json(), { database: { status: 'down' }, warnings: exactly(/PostgreSQL does not answer/) })
  t.equal((await fetch(`http://127.0.0.1:${port}/vital-data`)).status, 503)
  await database.on()
  await until(async () => (await ready()).status === 200, 'ready again')
  await api.reload()
})

t.test('the primary away: a replica answers', { skip: NO_REPLICATION }, async (t) => {
  const { primary, replica } = await startReplication(t)
  const gateway = await startGateway(t, { DATABASE_URL: primary.url })
  await fetch(`${gateway.httpUrl}/vital-data`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"device":"a","timestamp":1}'
  })
  const config = createConfig({
    DATABASE_URL: primary.url, DATABASE_READ_URL: replica.url, VITAL_HTTP_PORT: '0', VITAL_DATA_DIR: await createTestDir(t)
  })
  const api = createReadApi({ config, logger: pino({ level: 'silent' }) })
  t.teardown(() => api.stop())
  const url = `http://127.0.0.1:${(await api.start()).port}`
  await until(async () => {
    await fetch(`${url}/vital-data/a`)
    return await readMetric(url, 'vital_replica_reads_total') > 0
  }, 'reads to go to the replica')
  await gateway.stop()
  await primary.stop()
  await until(async () => await readMetric(url, 'vital_database_up') === 0, 'the primary to count as away')
  t.equal((await fetch(`${url}/health/ready`)).status, 200)
  t.equal((await fetch(`${url}/vital-data/a`)).status, 200)
})
