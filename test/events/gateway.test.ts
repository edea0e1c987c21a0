/** GET /events of a whole gateway. */
import { EventSource } from 'eventsource'
import t, { type Test } from 'tap'
import type { Store } from '../../db/store.ts'
import { bearer, login, openCredentials } from '../helpers/credentials.ts'
import { createDatabaseSwitch } from '../helpers/database-switch.ts'
import { openEvents } from '../helpers/events.ts'
import { exactly } from '../helpers/exactly.ts'
import { connectClient, startGateway } from '../helpers/gateway.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'

const post = (httpUrl: string, readings: unknown) => fetch(`${httpUrl}/vital-data`, {
  method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(readings)
})

/** A page that listens, and does nothing else. */
function listen (t: Test, url: string) {
  const source = new EventSource(url)
  t.teardown(() => { source.close() })
  const readings: Array<{ deviceId: string, timestamp: number }> = []
  source.addEventListener('reading', ({ data }) => { readings.push(JSON.parse(String(data)) as typeof readings[number]) })
  return { source, readings }
}

t.test('a reading is sent once it is committed, not before; over MQTT and HTTP', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  let commit = () => {}
  const held = new Promise<void>((resolve) => { commit = resolve })
  const wrapStore = (store: Store): Store => ({
    ...store,
    async write (readings, letters, timeoutMs) {
      if (readings.some(({ device }) => device === 'held')) await held
      return await store.write(readings, letters, timeoutMs)
    }
  })
  const variables = { DATABASE_URL: connectionString, VITAL_COMMIT_TIMEOUT_MS: '30000', VITAL_ACK_TIMEOUT_MS: '60000' }
  const { mqttPort, httpUrl } = await startGateway(t, variables, { wrapStore })
  const all = await openEvents(t, httpUrl, '/events?device=held&device=band-1&device=band-2')
  const client = await connectClient(t, mqttPort)
  const holding = client.publishAsync('vital/held', '{"timestamp":1,"heartRateValue":61.50}', { qos: 1 })
  t.equal((await post(httpUrl, [{ device: 'band-1', timestamp: 1.25 }, { device: 'band-2', timestamp: 2, spo2Value: 97 }])).status, 202)
  const before = await all.atLeast(2)
  t.strictSame(before.map(({ type, data }) => ({ type, ...data })), [
    { type: 'reading', deviceId: 'band-1', timestamp: 1.25, vitals: {} },
    { type: 'reading', deviceId: 'band-2', timestamp: 2, vitals: { spo2Value: 97 } }
  ])
  commit()
  await holding
  t.match((await all.atLeast(3)).at(-1), { type: 'reading', data: { deviceId: 'held', timestamp: 1, vitals: { heartRateValue: 61.5 } } })
  t.equal((await query('select from readings')).length, 3)
})

t.test('rejections are those of vital/{device}/rejected, word for word', async (t) => {
  const { mqttPort, httpUrl } = await startGateway(t)
  const all = await openEvents(t, httpUrl)
  const client = await connectClient(t, mqttPort, { clientId: 'watcher' })
  const announced: object[] = []
  client.on('message', (topic, payload) => {
    announced.push({ deviceId: topic.split('/')[1], ...JSON.parse(payload.toString()) as object })
  })
  await client.subscribeAsync('vital/+/rejected')
  for (const [topic, payload] of [
    ['vital/band-1', 'no json'], ['vital/band-1', '[{"timestamp":1},{"timestamp":-1},{"heartRateValue":"x"}]'],
    ['vital/band-2/heart', '{}'], ['vital/band-3/rejected', 'x'], ['vital/a$b', '{}']
  ] as const) await client.publishAsync(topic, payload, { qos: 1 })
  await until(() => announced.length === 4 && all.of('rejected').length === 4, 'four of each')
  t.strictSame(all.of('rejected').map(({ data }) => data), announced)
  t.strictSame(new Set(announced.map((one) => (one as { deviceId: string }).deviceId)), new Set(['band-1', 'band-2']))
})

t.test('devices that connect and leave are reported by the id of their principal, other clients are not', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const credentials = openCredentials(t, connectionString)
  const [device, operator] = [await credentials.add('band-1', 'device'), await credentials.add('otto', 'operator')]
  const { mqttPort, httpUrl } = await startGateway(t, { DATABASE_URL: connectionString })
  const all = await openEvents(t, httpUrl, '/events', bearer(await credentials.add('app', 'application')))
  const watcher = await connectClient(t, mqttPort, login('otto', operator, 'desk'))
  await watcher.endAsync()
  const band = await connectClient(t, mqttPort, login('band-1', device))
  await all.atLeast(1)
  band.stream.destroy()
  await all.atLeast(2)
  t.match(all.events(), exactly(
    { type: 'connected', data: { deviceId: 'band-1' } }, { type: 'disconnected', data: { deviceId: 'band-1', reason: 'lost' } }
  ))
  t.ok(all.events().every(({ data }) => Math.abs(Number(data['timestamp']) - Date.now() / 1000) < 60))
})

t.test('PostgreSQL away, restart of the gateway: a page gets the next reading without a reload', { timeout: 120_000 }, async (t) => {
  const { off, on, ...database } = await createDatabaseSwitch(t)
  const variables = { DATABASE_URL: database.connectionString, VITAL_COMMIT_TIMEOUT_MS: '500' }
  const gateway = await startGateway(t, variables)
  const { source, readings } = listen(t, `${gateway.httpUrl}/events`)
  await until(() => source.readyState === source.OPEN, 'the page to listen')
  await post(gateway.httpUrl, { device: 'first', timestamp: 1 })
  await until(() => readings.length === 1, 'the first reading')

  await off()
  t.equal((await post(gateway.httpUrl, { device: 'spooled', timestamp: 2 })).status, 202)
  const { readings: late, source: lateSource } = listen(t, `${gateway.httpUrl}/events?device=spooled`)
  await until(() => lateSource.readyState === lateSource.OPEN, 'a page that comes meanwhile')
  t.equal(source.readyState, source.OPEN)
  await on()
  await until(() => readings.length === 2 && late.length === 1, 'the reading, once it was replayed')
  t.equal(readings[1]?.deviceId, 'spooled')
  lateSource.close()

  await gateway.stop()
  await until(() => source.readyState === source.CONNECTING, 'the page to notice')
  const again = await startGateway(t, { ...variables, VITAL_HTTP_PORT: String(gateway.httpPort) })
  const metrics = async () => await (await fetch(`${again.httpUrl}/metrics`)).text()
  await until(async () => /^vital_event_listeners 1$/m.test(await metrics()), 'the page to come back')
  t.equal((await post(again.httpUrl, { device: 'next', timestamp: 3 })).status, 202)
  await until(() => readings.some(({ deviceId }) => deviceId === 'next'), 'the next reading')
})

t.test('a page opened while credentials cannot be verified gets the next reading once they can', { timeout: 120_000 }, async (t) => {
  const { off, on, ...database } = await createDatabaseSwitch(t)
  const credentials = openCredentials(t, database.connectionString)
  const [admin, app] = [await credentials.add('root', 'admin'), await credentials.add('app', 'application')]
  const { httpUrl } = await startGateway(t, { DATABASE_URL: database.connectionString })
  t.equal((await fetch(`${httpUrl}/vital-data`, { headers: bearer(admin) })).status, 200)
  await off()
  t.equal((await fetch(`${httpUrl}/vital-data`, { headers: bearer(app) })).status, 503, 'not known')
  const source = new EventSource(`${httpUrl}/events`, {
    fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, ...bearer(app) } })
  })
  t.teardown(() => { source.close() })
  const readings: string[] = []
  source.addEventListener('reading', ({ data }) => { readings.push(String(data)) })
  let errors = 0
  source.addEventListener('error', () => { errors++ })
  await until(() => errors >= 2, 'the page to be told twice to come back')
  t.not(source.readyState, source.CLOSED)
  await on()
  await until(async () => {
    await fetch(`${httpUrl}/vital-data`, {
      method: 'POST', headers: { 'content-type': 'application/json', ...bearer(admin) }, body: '{"device":"band","timestamp":1}'
    })
    return readings.length > 0
  }, 'a reading')
})

t.test('erased readings are not sent to a listener that comes back', async (t) => {
  const { httpUrl } = await startGateway(t)
  const first = await openEvents(t, httpUrl)
  await post(httpUrl, { device: 'stays', timestamp: 1 })
  await first.atLeast(1)
  first.request.destroy()
  await post(httpUrl, [{ device: 'erased', timestamp: 1 }, { device: 'stays', timestamp: 2 }])
  t.equal((await fetch(`${httpUrl}/vital-data/erased`, { method: 'DELETE' })).status, 200)
  const again = await openEvents(t, httpUrl, '/events', { 'last-event-id': first.lastEventId() })
  t.match(await again.atLeast(1), exactly({ data: { deviceId: 'stays', timestamp: 2 } }))
  t.notMatch(again.text(), /erased/)
})
