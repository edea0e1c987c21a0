import { pino } from 'pino'
import t from 'tap'
import { createConfig } from '../../src/config/config.ts'
import { ConfigError } from '../../src/config/config-error.ts'
import { createGateway } from '../../src/gateway.ts'
import { createDatabaseSwitch } from '../helpers/database-switch.ts'
import { exactly } from '../helpers/exactly.ts'
import { startGateway } from '../helpers/gateway.ts'
import { createTestDatabase, createTestDir } from '../helpers/postgres.ts'
import { login, openCredentials, tryConnect } from '../helpers/credentials.ts'

// The test reaches the gateway over loopback only, although it binds all addresses.
const EVERYWHERE = { VITAL_HOST: '0.0.0.0', VITAL_MQTT_PLAINTEXT: 'true' }

const warningsOf = async (httpUrl: string) =>
  ((await (await fetch(`${httpUrl}/health/ready`)).json()) as { warnings?: string[] }).warnings

t.test('a gateway bound beyond loopback without credentials stops its start, and nothing listens', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const config = createConfig({
    ...EVERYWHERE, DATABASE_URL: connectionString, VITAL_DATA_DIR: await createTestDir(t), VITAL_MQTT_PORT: '0', VITAL_HTTP_PORT: '0'
  })
  const lines: string[] = []
  const gateway = createGateway({ config, logger: pino({ level: 'info' }, { write (line: string) { lines.push(line) } }) })
  await t.rejects(gateway.start(), { constructor: ConfigError, message: /VITAL_HOST=0\.0\.0\.0[^]*VITAL_ALLOW_ANONYMOUS=true/ })
  t.notMatch(lines.join(''), '"msg":"listening"')
})

t.test('with a credential it starts, and a client without one is refused', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const secret = await openCredentials(t, connectionString).add('band-1', 'device')
  const { mqttPort } = await startGateway(t, { ...EVERYWHERE, DATABASE_URL: connectionString })
  t.equal(await tryConnect(mqttPort, {}), 5)
  t.equal(await tryConnect(mqttPort, login('band-1', secret)), 0)
})

t.test('with anonymous access allowed the gateway is open, and readiness and metrics say so', async (t) => {
  const { mqttPort, httpUrl } = await startGateway(t, { ...EVERYWHERE, VITAL_ALLOW_ANONYMOUS: 'true' })
  t.equal(await tryConnect(mqttPort, {}), 0)
  t.match(await warningsOf(httpUrl), exactly(/every client that reaches 0\.0\.0\.0 may publish and read/))
  t.match(await (await fetch(`${httpUrl}/metrics`)).text(), /^vital_anonymous_allowed 1$/m)
})

t.test('PostgreSQL is away at start and then has no credentials: no client is admitted until the first is added', async (t) => {
  const database = await createDatabaseSwitch(t)
  const credentials = openCredentials(t, database.connectionString)
  await database.off()
  const lines: string[] = []
  const config = createConfig({
    ...EVERYWHERE,
    DATABASE_URL: database.connectionString,
    VITAL_DATA_DIR: await createTestDir(t),
    VITAL_MQTT_PORT: '0',
    VITAL_HTTP_PORT: '0'
  })
  const gateway = createGateway({ config, logger: pino({ level: 'info' }, { write: (line: string) => { lines.push(line) } }) })
  t.teardown(() => gateway.stop())
  const { mqttPort, httpPort } = await gateway.start()
  const waits = async () => { await t.rejects(tryConnect(mqttPort, { connectTimeout: 1000 }), /timeout/) }
  await waits()
  await database.on()
  const deadlineMs = Date.now() + 15_000
  while (!lines.some((line) => line.includes('would let every client on the network')) &&
    Date.now() < deadlineMs) await new Promise((resolve) => setTimeout(resolve, 50))
  t.ok(Date.now() < deadlineMs, 'the log says so in time')
  await waits()
  t.equal((await fetch(`http://127.0.0.1:${httpPort}/vital-data`)).status, 503)

  const secret = await credentials.add('band-1', 'device')
  const code = await tryConnect(mqttPort, login('band-1', secret))
  t.equal(code, 0)
  t.equal(await tryConnect(mqttPort, {}), 5)
})

t.test('variables of tokens must be set together, and the issuer must be trusted', (t) => {
  const tokens = { VITAL_JWT_JWKS: 'jwks.json', VITAL_JWT_ISSUER: 'i', VITAL_JWT_AUDIENCE: 'a' }
  t.match(createConfig(tokens).tokens, { jwks: /^\/.*jwks\.json$/, algorithms: exactly('RS256', 'ES256', 'EdDSA'), roleClaim: 'role' })
  t.match(createConfig({ ...tokens, VITAL_JWT_JWKS: 'https://issuer.example/jwks' }).tokens, { jwks: 'https://issuer.example/jwks' })
  t.equal(createConfig({}).tokens, null)
  const bad: Array<[Record<string, string>, RegExp]> = [
    [{ ...tokens, VITAL_JWT_AUDIENCE: '' }, /must be set together/],
    [{ VITAL_JWT_ISSUER: 'i' }, /must be set together/],
    [{ ...tokens, VITAL_JWT_ALGORITHMS: 'RS256,HS256' }, /not HS256/],
    [{ ...tokens, VITAL_JWT_ALGORITHMS: 'none' }, /not none/],
    [{ ...tokens, VITAL_JWT_ALGORITHMS: ',' }, /not nothing/],
    [{ ...tokens, VITAL_JWT_JWKS: 'http://issuer.example/jwks' }, /https/]
  ]
  for (const [variables, message] of bad) t.throws(() => createConfig(variables), { message })
  t.end()
})
