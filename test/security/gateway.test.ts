import { setTimeout as sleep } from 'node:timers/promises'
import type { MqttClient } from 'mqtt'
import t from 'tap'
import { SECURITY_LIMITS } from '../../src/security/limits.ts'
import { createDatabaseSwitch } from '../helpers/database-switch.ts'
import { exactly } from '../helpers/exactly.ts'
import { connectClient, readLedger, startGateway } from '../helpers/gateway.ts'
import { createTestDatabase, createTestDir } from '../helpers/postgres.ts'
import { bearer, login, openCredentials, tryConnect } from '../helpers/credentials.ts'

const JSON_TYPE = { 'content-type': 'application/json' }

const post = async (httpUrl: string, body: unknown, headers: Record<string, string> = {}) => {
  const response = await fetch(`${httpUrl}/vital-data`, {
    method: 'POST', headers: { ...JSON_TYPE, ...headers }, body: JSON.stringify(body)
  })
  return { status: response.status, code: (await response.json() as { code?: string }).code, headers: response.headers }
}

/** Gives up after `ms`. */
const tryFor = (ms: number, port: number, options: Parameters<typeof tryConnect>[1]) =>
  tryConnect(port, { ...options, connectTimeout: ms }).catch((error: unknown) => /timeout/.test(String(error))
    ? 'no answer'
    : String(error))

const get = async (httpUrl: string, path: string, headers: Record<string, string> = {}) => {
  const response = await fetch(httpUrl + path, { headers })
  await response.arrayBuffer()
  return response.status
}

const closeOf = (client: MqttClient) => new Promise<void>((resolve) => { client.once('close', () => { resolve() }) })

t.test('the first credential closes an open gateway: clients without one are disconnected', async (t) => {
  const { mqttPort, httpUrl, connectionString } = await startGateway(t)
  const anonymous = await connectClient(t, mqttPort)
  t.equal((await post(httpUrl, { device: 'a', timestamp: 1 })).status, 202)
  t.match(await (await fetch(`${httpUrl}/metrics`)).text(), /^vital_anonymous_allowed 1$/m)
  const closed = closeOf(anonymous)
  const admin = await openCredentials(t, connectionString).add('root', 'admin')
  await closed

  t.equal(await tryConnect(mqttPort, {}), 5)
  t.equal(await tryConnect(mqttPort, login('root', 'vg_wrong')), 5)
  t.equal(await tryConnect(mqttPort, login('root', admin)), 0)
  const refused = await post(httpUrl, { device: 'a', timestamp: 2 })
  t.match(refused, { status: 401, code: 'VITAL_UNAUTHENTICATED' })
  t.equal(refused.headers.get('www-authenticate'), 'Bearer')
  for (const path of [
    '/vital-data', '/vital-data/a', '/metrics', '/dead-letters', '/docs', '/docs/json', '/nowhere'
  ]) t.equal(await get(httpUrl, path), 401, path)
  for (const path of ['/vital-data', '/vital-data/a', '/metrics', '/dead-letters', '/docs', '/docs/json']) {
    t.equal(await get(httpUrl, path,
      bearer(admin)), 200, path)
  }
  t.equal(await get(httpUrl, '/vital-data', { 'x-api-key': admin }), 200)
  t.equal(await get(httpUrl, '/vital-data', { authorization: `Basic ${Buffer.from(`root:${admin}`).toString('base64')}` }), 401)

  const probe = await fetch(`${httpUrl}/health/ready`)
  t.same([probe.status, await probe.json()], [200, { status: 'ready' }], 'a probe learns only the status')
  t.match(await (await fetch(`${httpUrl}/health/ready`, { headers: bearer(admin) })).json(), {
    status: 'ready', database: { status: 'up' }, warnings: exactly()
  })
  const metrics = await (await fetch(`${httpUrl}/metrics`, { headers: bearer(admin) })).text()
  t.match(metrics, /^vital_anonymous_allowed 0$/m)
  t.match(metrics, /^vital_logins_total\{transport="mqtt",outcome="accepted"\} 1$/m)
  t.match(metrics, /^vital_logins_total\{transport="mqtt",outcome="refused"\} [2-9]$/m)
})

t.test('each role has the rights over HTTP that its row of the table says', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const credentials = openCredentials(t, connectionString)
  const band = await credentials.add('band-1', 'device')
  const operator = await credentials.add('ann', 'operator')
  const application = await credentials.add('app', 'application')
  const admin = await credentials.add('root', 'admin')
  const { mqttPort, httpUrl } = await startGateway(t, { DATABASE_URL: connectionString })

  t.equal((await post(httpUrl, { device: 'band-1', timestamp: 1 }, bearer(band))).status, 202)
  for (const body of [{ device: 'band-2', timestamp: 1 }, [{ device: 'band-1', timestamp: 2 }, { device: 'band-2', timestamp: 2 }]]) {
    t.match(await post(httpUrl, body, bearer(band)), { status: 403, code: 'VITAL_FORBIDDEN' }, 'not for another device')
  }
  t.equal((await post(httpUrl, { timestamp: 'x' }, bearer(band))).status, 400)
  t.equal((await post(httpUrl, { device: 'band-9', timestamp: 1 }, bearer(admin))).status, 202)
  for (const secret of [operator, application]) {
    t.equal((await post(httpUrl, {
      device: 'band-1', timestamp: 3
    }, bearer(secret))).status, 403)
  }
  const list = await (await fetch(`${httpUrl}/vital-data?sortBy=deviceId&orderBy=asc`, { headers: bearer(application) })).json() as {
    resources: Array<{
      deviceId: string
      timestamp: number
    }>
  }
  t.same(list.resources.map(({ deviceId, timestamp }) => [deviceId, timestamp]), [['band-1', 1], ['band-9', 1]],
    'nothing of a forbidden body is stored')

  const paths = [
    '/vital-data', '/vital-data/band-1', '/vital-data/band-9', '/docs/json', '/metrics', '/dead-letters',
    '/dead-letters/00000000-0000-4000-8000-000000000000'
  ]
  const expected: Array<[string, string, number[]]> = [
    ['device', band, [403, 200, 403, 403, 403, 403, 403]],
    ['operator', operator, [200, 200, 200, 200, 200, 200, 404]],
    ['application', application, [200, 200, 200, 200, 403, 403, 403]],
    ['admin', admin, [200, 200, 200, 200, 200, 200, 404]]
  ]
  for (const [role, secret, statuses] of expected) {
    t.same(await Promise.all(paths.map((path) => get(httpUrl, path, bearer(secret)))), statuses, role)
    const head = await fetch(`${httpUrl}/vital-data`, { method: 'HEAD', headers: bearer(secret) })
    t.equal(head.status, statuses[0], `${role}, HEAD`)
  }
  t.equal(await get(httpUrl, '/vital-data/band-1x', bearer(band)), 403, 'it does not learn whether another device exists')
  for (const secret of [band, operator, application]) {
    t.equal((await fetch(`${httpUrl}/vital-data/band-9`, { method: 'DELETE', headers: bearer(secret) })).status, 403)
  }
  t.equal(await tryConnect(mqttPort, login('app', application)), 5, 'an application has no MQTT')
  t.equal(await tryConnect(mqttPort, login('band-1', band, 'band-2')), 5, 'a device may not use the session of another one')
  t.match(await readLedger(httpUrl, bearer(operator)), { received: 6, stored: 2, refused: 4, pending: 0, balance: 0 })
})

t.test('PostgreSQL away: cached credentials are valid, others wait, also after a restart, until it is back', async (t) => {
  const database = await createDatabaseSwitch(t)
  const dataDir = await createTestDir(t)
  const credentials = openCredentials(t, database.connectionString)
  const known = await credentials.add('known', 'device')
  const alsoKnown = await credentials.add('also-known', 'device')
  const unknown = await credentials.add('unknown', 'device')
  const variables = { DATABASE_URL: database.connectionString, VITAL_DATA_DIR: dataDir }
  const gateway = await startGateway(t, variables)
  const { mqttPort, httpUrl } = gateway
  t.equal(await tryConnect(mqttPort, login('known', known)), 0)
  t.equal((await post(httpUrl, { device: 'also-known', timestamp: 1 }, bearer(alsoKnown))).status, 202)
  await database.off()

  const device = await connectClient(t, mqttPort, login('known', known))
  await device.publishAsync('vital/known', '{"timestamp":1}', { qos: 1 })
  t.equal((await post(httpUrl, { device: 'known', timestamp: 2 }, bearer(known))).status, 202, 'over HTTP too')
  t.equal(await tryConnect(mqttPort, login('also-known', alsoKnown)), 0)
  t.equal(await tryConnect(mqttPort, login('known', unknown)), 5, 'a wrong secret of a known principal is still refused')
  t.equal(await tryFor(1000, mqttPort, login('unknown', unknown)), 'no answer')
  t.equal(await tryFor(1000, mqttPort, login('unknown', 'a password')), 'no answer')
  const answer = await post(httpUrl, { device: 'unknown', timestamp: 1 }, bearer(unknown))
  t.match(answer, { status: 503, code: 'VITAL_AUTHENTICATION_UNAVAILABLE' })
  t.match(answer.headers.get('retry-after'), /^\d+$/)
  await device.endAsync(true)
  await gateway.stop()

  const again = await startGateway(t, variables)
  t.equal(await tryConnect(again.mqttPort, {}), 5, 'the gateway remembers that it is closed')
  const waiting = tryConnect(again.mqttPort, login('known', known))
  t.equal((await post(again.httpUrl, { device: 'known', timestamp: 1 }, bearer(known))).status, 503)
  await database.on()
  t.equal(await waiting, 0, 'the same connection is let in')
})

t.test('a gateway that has never reached PostgreSQL admits no client, and says so', async (t) => {
  const database = await createDatabaseSwitch(t)
  await database.off()
  const { mqttPort, httpUrl } = await startGateway(t, { DATABASE_URL: database.connectionString })
  const waiting = tryConnect(mqttPort, {})
  t.equal(await tryFor(1000, mqttPort, {}), 'no answer')
  t.match(await post(httpUrl, { device: 'a', timestamp: 1 }), { status: 503, code: 'VITAL_AUTHENTICATION_UNAVAILABLE' })
  t.equal((await fetch(`${httpUrl}/health/ready`)).status, 503)
  await database.on()
  t.equal(await waiting, 0, 'the gateway is open')
})

t.test('connections of a principal are closed within seconds of a revocation, a rotation without grace, or a new role', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const credentials = openCredentials(t, connectionString)
  const secrets = new Map<string, string>()
  for (const id of ['revoked', 'rotated', 'graceful', 'untouched']) secrets.set(id, await credentials.add(id, 'device'))
  secrets.set('promoted', await credentials.add('promoted', 'operator'))
  const { mqttPort, httpUrl } = await startGateway(t, { DATABASE_URL: connectionString })
  const clients = new Map(await Promise.all([...secrets].map(async ([id, secret]) => [id, await connectClient(t, mqttPort,
    login(id, secret))] as const)))
  const closes = ['revoked', 'rotated', 'promoted'].map((id) => closeOf(clients.get(id)!))

  await credentials.revoke('revoked')
  const rotated = await credentials.rotate('rotated', 0)
  const graceful = await credentials.rotate('graceful', 3600)
  await query('update principals set role = \'device\', changed_at = clock_timestamp() where id = \'promoted\'')
  await Promise.all(closes)
  t.ok(clients.get('untouched')?.connected)

  t.equal(await tryConnect(mqttPort, login('revoked', secrets.get('revoked')!)), 5)
  t.equal((await post(httpUrl, { device: 'revoked', timestamp: 1 }, bearer(secrets.get('revoked')!))).status, 401)
  t.equal(await tryConnect(mqttPort, login('rotated', secrets.get('rotated')!)), 5)
  t.equal(await tryConnect(mqttPort, login('rotated', rotated)), 0)
  t.equal(await tryConnect(mqttPort, login('graceful', secrets.get('graceful')!)), 0, 'the old secret, in its grace period')
  t.equal(await tryConnect(mqttPort, login('graceful', graceful)), 0)
})

t.test('a principal added just before or after the start of the gateway is admitted and stays connected', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const credentials = openCredentials(t, connectionString)
  const before = await credentials.add('before', 'device')
  const { mqttPort } = await startGateway(t, { DATABASE_URL: connectionString })
  const clients = [await connectClient(t, mqttPort, login('before', before))]
  for (const id of ['beside-1', 'beside-2', 'beside-3']) {
    clients.push(await connectClient(t, mqttPort, login(id, await credentials.add(id, 'device'))))
    await sleep(400)
  }
  await sleep(2 * SECURITY_LIMITS.changesIntervalMs)
  t.ok(clients.every(({ connected }) => connected))
  const closed = closeOf(clients[1]!)
  await credentials.revoke('beside-1')
  await closed
})

t.test('the overlap of a rotation ends, also for a connection', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const credentials = openCredentials(t, connectionString)
  const old = await credentials.add('band-1', 'device')
  await credentials.rotate('band-1', 3)
  const { mqttPort, httpUrl } = await startGateway(t, { DATABASE_URL: connectionString })
  const device = await connectClient(t, mqttPort, login('band-1', old))
  t.equal((await post(httpUrl, { device: 'band-1', timestamp: 1 }, bearer(old))).status, 202)
  await closeOf(device)
  t.equal((await post(httpUrl, { device: 'band-1', timestamp: 2 }, bearer(old))).status, 401)
})

t.test('a password is valid over MQTT only, and an unknown id is refused in the same way', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const credentials = openCredentials(t, connectionString)
  await credentials.addWithPassword('ann', 'operator', 'correct horse')
  await credentials.add('band-1', 'device')
  const { mqttPort, httpUrl } = await startGateway(t, { DATABASE_URL: connectionString })
  t.equal(await tryConnect(mqttPort, login('ann', 'correct horse')), 0)
  t.equal(await tryConnect(mqttPort, login('ann', 'correct horse', 'some-laptop')), 0)
  t.equal(await tryConnect(mqttPort, login('ann', 'battery staple')), 5)
  t.equal(await tryConnect(mqttPort, login('nobody', 'correct horse')), 5)
  t.equal(await tryConnect(mqttPort, login('band-1', 'correct horse')), 5)
  t.equal(await tryConnect(mqttPort, login('__proto__', 'correct horse', 'x')), 5)
  t.equal(await get(httpUrl, '/vital-data', bearer('correct horse')), 401, 'no password over HTTP')
})
