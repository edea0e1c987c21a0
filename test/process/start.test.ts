import pg from 'pg'
import { pino } from 'pino'
import t from 'tap'
import { createConfig } from '../../src/config/config.ts'
import { ConfigError } from '../../src/config/config-error.ts'
import { createGateway } from '../../src/gateway.ts'
import { createDatabaseSwitch } from '../helpers/database-switch.ts'
import { connectClient, startGateway } from '../helpers/gateway.ts'
import { spawnGateway } from '../helpers/gateway-process.ts'
import { createEmptyDatabase, createTestDatabase, createTestDir } from '../helpers/postgres.ts'
import { openCredentials } from '../helpers/credentials.ts'
import { until } from '../helpers/until.ts'

const statusOf = async (url: string, headers: Record<string, string> = {}) => (await fetch(url, { headers })).status

t.test('PostgreSQL is away at the first start: not ready, because no client can be authenticated; metrics and health answer', async (t) => {
  const database = await createDatabaseSwitch(t)
  await database.off()
  const lines: string[] = []
  const config = createConfig({
    DATABASE_URL: database.connectionString, VITAL_DATA_DIR: await createTestDir(t), VITAL_MQTT_PORT: '0', VITAL_HTTP_PORT: '0'
  })
  const gateway = createGateway({ config, logger: pino({ level: 'info' }, { write: (line: string) => { lines.push(line) } }) })
  t.teardown(() => gateway.stop())
  const { httpPort, mqttPort } = await gateway.start()
  const url = `http://127.0.0.1:${httpPort}`
  t.equal(await statusOf(`${url}/health/ready`), 503)
  t.equal(await statusOf(`${url}/health/live`), 200)
  t.equal(await statusOf(`${url}/metrics`), 200)
  t.equal(await statusOf(`${url}/metrics`, { authorization: 'Bearer whatever' }), 200)
  t.equal(await statusOf(`${url}/vital-data`), 503)
  t.notOk(lines.some((line) => line.includes('"msg":"ready"')), 'the log does not say ready')

  await database.on()
  await until(async () => await statusOf(`${url}/health/ready`) === 200, 'the gateway to be ready')
  await until(() => lines.some((line) => line.includes('"msg":"ready"')), 'the log says so')
  const device = await connectClient(t, mqttPort)
  await device.publishAsync('vital/a', '{"timestamp":1}', { qos: 1 })
})

t.test('PostgreSQL is away and no principal is cached: not ready; metrics answer a request with any credential', async (t) => {
  const database = await createDatabaseSwitch(t)
  const dataDir = await createTestDir(t)
  const secret = await openCredentials(t, database.connectionString).add('ops', 'operator')
  const variables = { DATABASE_URL: database.connectionString, VITAL_DATA_DIR: dataDir }
  await (await startGateway(t, variables)).stop()
  await database.off()
  const { httpUrl } = await startGateway(t, variables)
  t.equal(await statusOf(`${httpUrl}/health/ready`), 503)
  t.equal(await statusOf(`${httpUrl}/metrics`, { authorization: `Bearer ${secret}` }), 200)
  t.equal(await statusOf(`${httpUrl}/metrics`), 401)
  t.equal(await statusOf(`${httpUrl}/vital-data`, { authorization: `Bearer ${secret}` }), 503)

  await database.on()
  await until(async () => await statusOf(`${httpUrl}/health/ready`) === 200, 'it is ready')
  t.equal(await statusOf(`${httpUrl}/metrics`, { authorization: `Bearer ${secret.slice(0, -4)}aaaa` }), 401)
  t.equal(await statusOf(`${httpUrl}/metrics`, { authorization: `Bearer ${secret}` }), 200)
  await database.off()
  await until(async () => (await (await fetch(`${httpUrl}/metrics`, { headers: { authorization: `Bearer ${secret}` } })).text())
    .includes('vital_database_up 0'), 'the outage to be noticed')
  t.equal(await statusOf(`${httpUrl}/health/ready`), 200, 'known principals are still let in')
})

t.test('a gateway that was open before is ready at once, and uses the spool instead of PostgreSQL', async (t) => {
  const database = await createDatabaseSwitch(t)
  const variables = { DATABASE_URL: database.connectionString, VITAL_DATA_DIR: await createTestDir(t) }
  await (await startGateway(t, variables)).stop()
  await database.off()
  const { httpUrl } = await startGateway(t, variables)
  t.equal(await statusOf(`${httpUrl}/health/ready`), 200)
})

t.test('a DATABASE_URL that asks for TLS of a server without it stops the start', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  for (const mode of ['verify-full', 'no-verify']) {
    const config = createConfig({
      DATABASE_URL: `${connectionString}?sslmode=${mode}`,
      VITAL_DATA_DIR: await createTestDir(t),
      VITAL_MQTT_PORT: '0',
      VITAL_HTTP_PORT: '0'
    })
    const gateway = createGateway({ config, logger: pino({ level: 'silent' }) })
    await t.rejects(gateway.start(), { constructor: ConfigError, message: /DATABASE_URL asks for TLS[^]*sslmode=disable/ })
  }
})

t.test('a migration that waits does not keep the gateway from listening', async (t) => {
  const { connectionString } = await createEmptyDatabase(t)
  const holder = new pg.Client({ connectionString })
  await holder.connect()
  t.teardown(() => holder.end())
  // Kysely's lock, as another gateway holds it during a migration.
  await holder.query('select pg_advisory_lock(3853314791062309107)')
  const { httpUrl } = await startGateway(t, { DATABASE_URL: connectionString })
  t.equal(await statusOf(`${httpUrl}/health/ready`), 503)
  t.equal(await statusOf(`${httpUrl}/metrics`), 200)
  await holder.query('select pg_advisory_unlock_all()')
  await until(async () => await statusOf(`${httpUrl}/health/ready`) === 200, 'it is ready')
})

t.test('PostgreSQL comes back with a schema that is too new: the process ends with that, not as after a bug', async (t) => {
  const database = await createDatabaseSwitch(t)
  await database.query("insert into vital_migrations (name, timestamp) values ('900-from-the-future', 'now')")
  await database.off()
  const { exited, lines, said } = await spawnGateway(t, { DATABASE_URL: database.connectionString })
  await said(/^not ready until PostgreSQL answers/)
  await database.on()
  t.same(await exited, [1, null])
  t.match(lines.at(-1), { level: 60, code: 'VITAL_SCHEMA_NEWER', msg: /900-from-the-future/, err: undefined })
})
