import { setTimeout as sleep } from 'node:timers/promises'
import type { MqttClient } from 'mqtt'
import t, { type Test } from 'tap'
import type { Store } from '../../db/store.ts'
import type { ErasureAnswer } from '../../schemas/erasure.ts'
import { exactly } from '../helpers/exactly.ts'
import { connectClient, readLedger, startGateway } from '../helpers/gateway.ts'
import { createDatabaseSwitch } from '../helpers/database-switch.ts'
import { createTestDatabase, createTestDir } from '../helpers/postgres.ts'

async function erase (httpUrl: string, device: string): Promise<{ status: number, body: ErasureAnswer & { code?: string } }> {
  const response = await fetch(`${httpUrl}/vital-data/${encodeURIComponent(device)}`, { method: 'DELETE' })
  return { status: response.status, body: await response.json() as ErasureAnswer }
}

/** The retained payloads that a new subscriber of a filter gets. */
async function retainedOf (t: Test, port: number, topic: string): Promise<string[]> {
  const client = await connectClient(t, port)
  const seen: string[] = []
  client.on('message', (_topic, payload) => { seen.push(payload.toString()) })
  await client.subscribeAsync(topic, { qos: 1 })
  await sleep(100)
  await client.endAsync()
  return seen
}

const TABLES = ['readings', 'latest', 'dead_letters'] as const
type Query = (text: string, values?: unknown[]) => Promise<Array<Record<string, unknown>>>
async function rowsOf (query: Query, device: string): Promise<Record<string, unknown>> {
  const rows: Record<string, unknown> = {}
  for (const table of TABLES) {
    const [row] = await query(`select count(*)::int as n from ${table} where device = $1`, [device])
    rows[table] = row?.['n']
  }
  return rows
}

t.test('a device is removed from tables, retained set and queues; one with a similar name is not', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const { mqttPort, httpUrl } = await startGateway(t, { DATABASE_URL: connectionString })
  const away = { clientId: 'ward', clean: false }
  const subscriber = await connectClient(t, mqttPort, away)
  await subscriber.subscribeAsync(['vital/#', 'other/#'], { qos: 1 })
  await subscriber.endAsync()

  const client = await connectClient(t, mqttPort, { clientId: 'ward-3' })
  const neighbour = await connectClient(t, mqttPort, { clientId: 'ward-33' })
  for (const [publisher, device] of [[client, 'ward-3'], [neighbour, 'ward-33']] as const) {
    await publisher.publishAsync(`vital/${device}`, '{"timestamp":1,"heartRateValue":60}', { qos: 1 })
    await publisher.publishAsync(`vital/${device}`, '{"timestamp":2,"heartRateValue":61}', { qos: 1, retain: true })
    await publisher.publishAsync(`vital/${device}`, 'no json', { qos: 1 })
    await publisher.publishAsync(`vital/${device}/more`, '{}', { qos: 1 })
    await publisher.publishAsync('vital/a/b', `of ${device}`, { qos: 1 })
    await publisher.publishAsync(`other/${device}`, 'x', { qos: 1, retain: true })
  }
  t.equal(await query('select 1 from dead_letters').then((rows) => rows.length), 6)
  // Until a rejection has reached the queue of the absent subscriber.
  await sleep(100)

  const erased = await erase(httpUrl, 'ward-3')
  t.same(erased, {
    status: 200,
    body: {
      deviceId: 'ward-3',
      readings: 2,
      latest: 1,
      deadLetters: 3,
      retained: 1,
      queued: 4,
      damagedSpoolFiles: 0,
      gateways: [{ name: erased.body.gateways[0]?.name, state: 'confirmed' }],
      remains: [{ where: 'backups', until: 'they are deleted; a restore erases again what erasures.jsonl of this gateway names' }]
    }
  })
  t.same(await rowsOf(query, 'ward-3'), { readings: 0, latest: 0, dead_letters: 0 })
  t.same(await rowsOf(query, 'ward-33'), { readings: 2, latest: 1, dead_letters: 2 })
  t.same(await query('select client_id from dead_letters'), Array(3).fill({ client_id: 'ward-33' }))
  t.equal((await fetch(`${httpUrl}/vital-data/ward-3`)).status, 404)
  t.same(await retainedOf(t, mqttPort, 'vital/+'), ['{"timestamp":2,"heartRateValue":61}'])
  t.same(await retainedOf(t, mqttPort, 'other/+'), ['x', 'x'], 'messages that are only relayed stay')

  const seen: string[] = []
  const back = await connectClient(t, mqttPort, { ...away, manualConnect: false })
  back.on('message', (topic) => { seen.push(topic) })
  await sleep(200)
  t.same([...new Set(seen)].sort(), ['other/ward-3', 'other/ward-33', 'vital/a/rejected', 'vital/ward-33', 'vital/ward-33/rejected'])

  t.match(await query('select actor, act, target, details from audit_log order by id'), exactly(
    { actor: 'anonymous@127.0.0.1', act: 'erase.begin', target: 'ward-3' },
    { actor: 'anonymous@127.0.0.1', act: 'erase', target: 'ward-3', details: { readings: 2, latest: 1, deadLetters: 3 } }
  ))
  t.match(await erase(httpUrl, 'ward-3'), { status: 200, body: { readings: 0, latest: 0, deadLetters: 0, retained: 0, queued: 0 } },
    'a second erasure finds nothing')
  t.same(await query('select 1 from latest where device = \'ward-3\''), [], 'and no row that only served as a lock is left')
  await client.publishAsync('vital/ward-3', '{"timestamp":3}', { qos: 1 })
  t.same(await rowsOf(query, 'ward-3'), { readings: 1, latest: 1, dead_letters: 0 }, 'later readings are kept')
  t.match(await readLedger(httpUrl), { balance: 0, pending: 0 })
})

t.test('a device with more readings than one chunk is erased', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const { httpUrl } = await startGateway(t, { DATABASE_URL: connectionString })
  await query(`insert into readings select device, to_timestamp(1750000000 + n * 300), gen_random_uuid(), '{}', now()
    from generate_series(1, 12001) n, (values ('a'), ('b')) v(device)`)
  t.match(await erase(httpUrl, 'a'), { status: 200, body: { readings: 12_001 } })
  t.same(await query('select device, count(*)::int as n from readings group by 1'), [{ device: 'b', n: 12_001 }])
})

/** Publishes readings of one device until stopped, and keeps the acknowledged ones with their time of sending. */
async function runDevice (client: MqttClient, device: string, stop: AbortSignal) {
  const acknowledged: Array<{ index: number, sentAtMs: number }> = []
  for (let index = 0; !stop.aborted; index++) {
    const sentAtMs = performance.now()
    await client.publishAsync(`vital/${device}`, JSON.stringify({
      timestamp: 1_750_240_000 + index, heartRateValue: index % 200, n: index
    }), { qos: 1 })
    acknowledged.push({ index, sentAtMs })
  }
  return acknowledged
}

t.test('under load, with a spool full of readings: nothing of the device comes back, nothing of ' +
  'others is lost', { timeout: 120_000 }, async (t) => {
  const database = await createDatabaseSwitch(t)
  const dataDir = await createTestDir(t)
  const variables = { DATABASE_URL: database.connectionString, VITAL_DATA_DIR: dataDir }
  const gateway = await startGateway(t, variables)
  const { mqttPort, httpUrl } = gateway
  const stop = new AbortController()
  const stopErased = new AbortController()
  const clients = await Promise.all(Array.from({ length: 20 }, () => connectClient(t, mqttPort)))
  const others = clients.map((client, index) => runDevice(client, `other-${index}`, stop.signal))
  const erasedClient = await connectClient(t, mqttPort)
  // The device stops before the erasure, so that all of its readings must be gone. 'busy' goes on sending.
  const erasedRun = runDevice(erasedClient, 'gone', stopErased.signal)
  const busyRun = runDevice(await connectClient(t, mqttPort), 'busy', stop.signal)
  await sleep(300)
  await database.off()
  await sleep(1500)
  stopErased.abort()
  const sent = await erasedRun
  const { pending } = await readLedger(httpUrl)
  t.ok(pending > 0, `${pending} readings wait in the spool`)
  const busyErasedAtMs = performance.now()
  t.match(await erase(httpUrl, 'gone'), { status: 503, body: { code: 'VITAL_ERASURE_BUSY' } }, 'PostgreSQL is away')
  await database.on()
  await sleep(50)
  let answer = await erase(httpUrl, 'gone')
  for (let tries = 0; answer.status === 503 && tries < 100; tries++) {
    await sleep(100)
    answer = await erase(httpUrl, 'gone')
  }
  t.match(answer, { status: 200, body: { readings: sent.length, latest: 1 } })
  const busyAnswer = await erase(httpUrl, 'busy')
  t.equal(busyAnswer.status, 200)
  await sleep(300)
  stop.abort()
  const acknowledged = await Promise.all(others)
  const busy = await busyRun
  await gateway.stop()

  const again = await startGateway(t, variables)
  while ((await readLedger(again.httpUrl)).pending > 0) await sleep(20)
  t.same(await rowsOf(database.query, 'gone'), { readings: 0, latest: 0, dead_letters: 0 })
  for (const [index, readings] of acknowledged.entries()) {
    const stored = await database.query('select (vitals->>\'n\')::int as n from readings where device = $1', [`other-${index}`])
    t.equal(stored.length, readings.length, `other-${index}: ${readings.length} acknowledged`)
  }
  const left = new Set((await database.query('select (vitals->>\'n\')::int as n from readings where ' +
    'device = \'busy\'')).map(({ n }) => n as number))
  t.ok(left.size > 0, 'a device that goes on sending has readings again')
  t.same(busy.filter(({ index, sentAtMs }) => sentAtMs < busyErasedAtMs && left.has(index)), [], 'only readings sent after the erasure')
  t.notOk(left.has(0))
  const lastErased = Math.min(...left)
  t.same(busy.filter(({ index }) => index >= lastErased && !left.has(index)), [], 'and all of them')
  t.same(await database.query('select device from readings left join latest using (device) where latest.device is null'), [],
    'each device that has readings has a latest state')
})

t.test('while PostgreSQL is away nothing is changed', async (t) => {
  const database = await createDatabaseSwitch(t)
  const { mqttPort, httpUrl } = await startGateway(t, { DATABASE_URL: database.connectionString })
  const client = await connectClient(t, mqttPort)
  await client.publishAsync('vital/a', '{"timestamp":1}', { qos: 1, retain: true })
  await database.off()
  t.match(await erase(httpUrl, 'a'), { status: 503, body: { code: /^VITAL_(?:DATABASE_UNAVAILABLE|ERASURE_BUSY)$/ } },
    'before the outage was noticed')
  await client.publishAsync('vital/a', '{"timestamp":2}', { qos: 1 })
  t.match(await erase(httpUrl, 'a'), { status: 503, body: { code: 'VITAL_ERASURE_BUSY' } })
  t.same(await retainedOf(t, mqttPort, 'vital/a'), ['{"timestamp":1}'])
  await database.on()
  t.same(await rowsOf(database.query, 'a'), { readings: 1, latest: 1, dead_letters: 0 })
  t.same(await database.query('select 1 from audit_log'), [])
})

t.test('erasure waits for a write that ingest has given up', { timeout: 60_000 }, async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  let release = () => {}
  const wrapStore = (store: Store): Store => {
    let isHeld = false
    return {
      ...store,
      async write (readings, letters) {
        if (!isHeld && readings.some(({ device }) => device === 'a')) {
          isHeld = true
          await new Promise<void>((resolve) => { release = resolve })
        }
        return await store.write(readings, letters)
      }
    }
  }
  const { mqttPort, httpUrl } = await startGateway(t, { DATABASE_URL: connectionString, VITAL_COMMIT_TIMEOUT_MS: '1000' }, { wrapStore })
  const client = await connectClient(t, mqttPort)
  await client.publishAsync('vital/a', '{"timestamp":1}', { qos: 1 })
  while ((await rowsOf(query, 'a'))['readings'] === 0) await sleep(20)
  const erasing = erase(httpUrl, 'a')
  t.equal(await Promise.race([erasing.then(() => 'erased'), sleep(1500, 'waits')]), 'waits')
  release()
  t.match(await erasing, { status: 200, body: { readings: 1 } })
  await sleep(100)
  t.same(await rowsOf(query, 'a'), { readings: 0, latest: 0, dead_letters: 0 })
})

t.test('an invalid id, and a Host header that names another machine, are refused', async (t) => {
  const { httpUrl, httpPort } = await startGateway(t)
  t.match(await erase(httpUrl, 'a#'), { status: 400, body: { code: 'VITAL_INVALID_DEVICE' } })
  const { request } = await import('node:http')
  const status = await new Promise((resolve, reject) => {
    request({ port: httpPort, path: '/vital-data/a', method: 'DELETE', headers: { host: 'rebound.example' } }, (response) => {
      response.resume()
      resolve(response.statusCode)
    }).on('error', reject).end()
  })
  t.equal(status, 403, 'a page whose own host name resolves to our address')
})
