import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import t from 'tap'
import { exactly } from './helpers/exactly.ts'
import { connectClient, readLedger, startGateway } from './helpers/gateway.ts'

async function query<Row extends object> (connectionString: string, text: string, values: unknown[] = []): Promise<Row[]> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  try {
    return (await client.query<Row>(text, values)).rows
  } finally {
    await client.end()
  }
}

async function post (httpUrl: string, body: unknown) {
  const response = await fetch(`${httpUrl}/vital-data`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: typeof body === 'string' ? body : JSON.stringify(body)
  })
  return { status: response.status, answer: await response.json() as Record<string, unknown> }
}

t.test('three devices over both transports: stored, seen by an operator, listed', async (t) => {
  const { mqttPort, httpUrl } = await startGateway(t)
  const operator = await connectClient(t, mqttPort)
  const seen: string[] = []
  operator.on('message', (topic) => { seen.push(topic) })
  await operator.subscribeAsync('vital/#', { qos: 1 })

  t.same(await post(httpUrl, { device: 'fitband-alpha', timestamp: 1750240800, heartRateValue: 88 }), {
    status: 202, answer: { status: 'accepted' }
  })
  t.equal((await post(httpUrl, {
    device: 'smart-scale-beta', timestamp: 1750240860, bloodPressureSystolic: 118, bloodPressureDiastolic: 78
  })).status, 202)
  const device = await connectClient(t, mqttPort)
  await device.publishAsync('vital/ward-3', '{"timestamp":1750240830,"heartRateValue":61.5}', { qos: 1 })

  const list = await (await fetch(`${httpUrl}/vital-data?count=5&sortBy=timestamp&orderBy=desc`)).json() as {
    total: number
    resources: Array<{ deviceId: string }>
  }
  t.equal(list.total, 3)
  t.same(list.resources.map(({ deviceId }) => deviceId), ['smart-scale-beta', 'ward-3', 'fitband-alpha'])
  t.same(list.resources[1], {
    deviceId: 'ward-3',
    timestamp: 1750240830,
    heartRate: 61.5,
    breathRate: null,
    vitals: { heartRateValue: 61.5 },
    vitalTimestamps: { heartRateValue: 1750240830 }
  })
  await sleep(50)
  t.same(seen.sort(), ['vital/fitband-alpha', 'vital/smart-scale-beta', 'vital/ward-3'])
})

t.test('the same reading over both transports and again is stored once; the newest value of each field wins', async (t) => {
  const { mqttPort, httpUrl, connectionString } = await startGateway(t)
  const device = await connectClient(t, mqttPort)
  const publish = (reading: object) => device.publishAsync('vital/a', JSON.stringify(reading), { qos: 1 })
  await publish({ timestamp: 200, heartRateValue: 70, temperatureValue: 36.6 })
  await publish({ timestamp: 200, temperatureValue: 36.6, heartRateValue: 70.0 })
  t.equal((await post(httpUrl, { device: 'a', heartRateValue: 70, timestamp: 200, temperatureValue: 36.6 })).status, 202)
  await publish({ timestamp: 200, heartRateValue: 71, temperatureValue: 36.6, other: 1 })
  await publish({ timestamp: 100, heartRateValue: 60, spo2Value: 95, breathValue: 11 })
  await publish({ timestamp: 150, breathRateValue: 12 })

  t.same(await query(connectionString, 'select count(*)::int as readings from readings'), [{ readings: 4 }])
  const resource = await (await fetch(`${httpUrl}/vital-data/a`)).json() as { vitals: Record<string, unknown> }
  t.match(resource, {
    timestamp: 200,
    breathRate: 12,
    vitals: { temperatureValue: 36.6, spo2Value: 95, breathValue: 11, breathRateValue: 12, other: 1 },
    vitalTimestamps: { heartRateValue: 200, temperatureValue: 200, spo2Value: 100, breathValue: 100, breathRateValue: 150, other: 200 }
  })
  t.ok([70, 71].includes(resource.vitals['heartRateValue'] as number), 'either of two values of one instant')
  t.match(await readLedger(httpUrl), { received: 6, stored: 4, duplicate: 2, pending: 0, balance: 0 })
})

t.test('invalid payloads are acknowledged, kept in full, announced, and not delivered to subscribers', async (t) => {
  const { mqttPort, httpUrl, connectionString } = await startGateway(t)
  const operator = await connectClient(t, mqttPort)
  const seen: Array<[string, unknown]> = []
  operator.on('message', (topic, payload) => { seen.push([topic, JSON.parse(payload.toString())]) })
  await operator.subscribeAsync('#', { qos: 1 })
  const device = await connectClient(t, mqttPort, { clientId: 'bed-7' })
  const bad: Array<[topic: string, payload: string | Buffer, reason: string]> = [
    ['vital/a', '{"timestamp":1', 'invalid_json'],
    ['vital/a', Buffer.from([0xff, 0xfe]), 'invalid_json'],
    ['vital/a', '{"timestamp":1,"heartRateValue":"88"}', 'invalid_reading'],
    ['vital/a', '{"timestamp":1,"device":"b"}', 'device_mismatch'],
    ['vital/a', '{"timestamp":1,"note":"\\u0000"}', 'database_rejected'],
    ['vital/a/b', '{"timestamp":1}', 'invalid_topic'],
    ['vital/__proto__', '{"timestamp":1}', 'invalid_topic'],
    ['vital/a\u0007b', '{"timestamp":1}', 'invalid_topic']
  ]
  for (const [topic, payload] of bad) await device.publishAsync(topic, payload, { qos: 1, retain: true })
  await device.publishAsync('vital/a', '[{"timestamp":1},{"timestamp":null},{"timestamp":2,"x":"y"}]', { qos: 1 })

  const letters = await query<{ topic: string, reason: string, client_id: string, payload: Buffer }>(connectionString,
    'select topic, reason, client_id, payload from dead_letters order by received_at, id')
  t.same(new Set(letters.map(({ reason }) => reason)), new Set(bad.map(([, , reason]) => reason)))
  t.equal(letters.length, bad.length + 1)
  t.ok(letters.every((letter) => letter.client_id === 'bed-7'))
  for (const [, payload] of bad) {
    t.ok(letters.some((letter) => letter.payload.equals(Buffer.from(payload))),
    `${payload.toString()} is kept whole`)
  }
  t.ok(letters.some((letter) => letter.payload.toString() === '{"timestamp":null}'), 'one element of the array')

  await sleep(50)
  const rejections = seen.filter(([topic]) => topic === 'vital/a/rejected')
  t.same(rejections.map(([, rejection]) => (rejection as { reason: string }).reason),
    ['invalid_json', 'invalid_json', 'invalid_reading', 'device_mismatch', 'database_rejected', 'invalid_topic', 'invalid_reading'])
  t.match(rejections.at(-1)?.[1], { errors: exactly({ path: '/1/timestamp', message: 'must be a finite number' }), receivedAt: Number })
  t.same(seen.filter(([topic]) => !topic.endsWith('/rejected')),
    [['vital/a', [{ device: 'a', timestamp: 1 }, { device: 'a', timestamp: 2, x: 'y' }]]])
  t.match(await readLedger(httpUrl), { received: 11, stored: 2, deadLettered: 9, balance: 0 })
})

t.test('over HTTP one invalid element refuses the array, and every fault is listed', async (t) => {
  const { httpUrl, connectionString } = await startGateway(t)
  const { status, answer } = await post(httpUrl, [{ device: 'a', timestamp: 1 }, { timestamp: 'x', heartRateValue: null }])
  t.equal(status, 400)
  t.match(answer, {
    code: 'VITAL_INVALID_READING',
    details: exactly({ path: '/1/timestamp' }, { path: '/1/heartRateValue' }, { path: '/1/device' })
  })
  t.equal((await post(httpUrl, [{ device: 'a', timestamp: 1 }, { device: 'b', timestamp: 1 }])).status, 202)
  t.same(await query(connectionString, 'select device from readings order by 1'), [{ device: 'a' }, { device: 'b' }])
  t.match(await readLedger(httpUrl), { received: 4, stored: 2, refused: 2, deadLettered: 0, balance: 0 })
})

t.test('a row that the database refuses becomes one dead letter, and the rest of its batch is stored', async (t) => {
  const { mqttPort, httpUrl, connectionString } = await startGateway(t, { VITAL_FLUSH_INTERVAL_MS: '100' })
  await query(connectionString, 'alter table readings add constraint poison check (vitals <> \'{"poison":1}\')')
  const device = await connectClient(t, mqttPort)
  const publishes = Array.from({ length: 200 }, (_, index) =>
    device.publishAsync('vital/a', JSON.stringify(index === 77
      ? { timestamp: index, poison: 1 }
      : { timestamp: index, heartRateValue: index }), { qos: 1 }))
  const refused = post(httpUrl, [{ device: 'h', timestamp: 1 }, { device: 'h', timestamp: 2, poison: 1 }])
  const array = device.publishAsync('vital/b', '[{"timestamp":1},{"timestamp":2,"poison":1},{"timestamp":3}]', { qos: 1 })
  await Promise.all([...publishes, array])

  t.match(await refused, { status: 400, answer: { code: 'VITAL_DATABASE_REJECTED' } })
  t.same(await query(connectionString, 'select device, count(*)::int as readings from readings group by 1 order by 1'),
    [{ device: 'a', readings: 199 }, { device: 'b', readings: 2 }])
  t.same(await query(connectionString, 'select device, reason from dead_letters order by 1'),
    [{ device: 'a', reason: 'database_rejected' }, { device: 'b', reason: 'database_rejected' }])
  t.match(await readLedger(httpUrl), { received: 205, stored: 201, deadLettered: 2, refused: 2, pending: 0, balance: 0 })
})

t.test('dead letters beyond their cap are counted, not kept', async (t) => {
  const { mqttPort, httpUrl, connectionString } = await startGateway(t, { VITAL_DEAD_LETTERS_PER_DEVICE_MAX: '3' })
  const device = await connectClient(t, mqttPort)
  for (let sent = 0; sent < 5; sent++) await device.publishAsync('vital/a', 'x', { qos: 1 })
  await device.publishAsync('vital/b', 'x', { qos: 1 })
  t.same(await query(connectionString, 'select count(*)::int as letters from dead_letters'), [{ letters: 4 }])
  t.match(await readLedger(httpUrl), { received: 6, deadLettered: 4, refused: 2, balance: 0 })
})
