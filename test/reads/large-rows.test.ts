import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import t, { type Test } from 'tap'
import { type TestGateway, startGateway } from '../helpers/gateway.ts'
import { expectError } from '../helpers/http-server.ts'
import { createRandom } from '../helpers/random.ts'

const TIMESTAMP = 1_750_240_800.123456
/** A value that PostgreSQL prints as 12 MB. */
const LONG = `[${new Array(40_000).fill('1e308').join(',')}]`

async function post (t: Test, { httpUrl }: TestGateway, device: string, fields: string): Promise<void> {
  const body = `{"device":${JSON.stringify(device)},"timestamp":${TIMESTAMP},${fields}}`
  const response = await fetch(`${httpUrl}/vital-data`, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
  t.equal(response.status, 202, device)
  await response.arrayBuffer()
}

interface Page {
  total: number,
  resources: Array<{
    deviceId: string
    timestamp: number
    vitals: Record<string, unknown>
    vitalTimestamps: Record<string, number>
  }>
}

const readMetric = async ({ httpUrl }: TestGateway, name: string) =>
  Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(await (await fetch(`${httpUrl}/metrics`)).text())?.[1])

t.test('pages of small and large rows in any mixture hold the values that were sent', async (t) => {
  const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))
  t.comment(`SEED=${seed}`)
  const random = createRandom(seed)
  const gateway = await startGateway(t)
  const sent = new Map<string, unknown>()
  for (let index = 0; index < 60; index++) {
    const device = `d${String(index).padStart(2, '0')} "ä😀\\`
    const size = [3, 300, 4000, 30_000][Math.floor(random() * 4)]!
    const wave = Array.from({ length: size }, () => Math.floor(random() * 4096))
    sent.set(device, wave)
    await post(t, gateway, device, `"heartRateValue":${index},"wave":${JSON.stringify(wave)}`)
  }
  for (const search of [
    'count=100&sortBy=deviceId&orderBy=asc', 'count=100&sortBy=heartRate&orderBy=asc', 'count=7&offset=20&sortBy=deviceId&orderBy=asc'
  ]) {
    const page = await (await fetch(`${gateway.httpUrl}/vital-data?${search}`)).json() as Page
    const offset = Number(/offset=(\d+)/.exec(search)?.[1] ?? 0)
    const devices = [...sent.keys()].slice(offset, offset + Number(/count=(\d+)/.exec(search)?.[1]))
    t.equal(page.total, 60)
    t.same(page.resources.map(({ deviceId }) => deviceId), devices, search)
    for (const { deviceId, timestamp, vitals, vitalTimestamps } of page.resources) {
      t.equal(timestamp, TIMESTAMP)
      t.same(vitalTimestamps, { heartRateValue: TIMESTAMP, wave: TIMESTAMP })
      if (JSON.stringify(vitals['wave']) !== JSON.stringify(sent.get(deviceId))) t.fail(`${deviceId} is another`)
    }
  }
  t.equal(await readMetric(gateway, 'vital_read_bytes'), 0)
})

t.test('every digit comes back as it was stored', async (t) => {
  const gateway = await startGateway(t)
  await post(t, gateway, 'digits', '"big":1e308,"small":0.1,"text":"\\u2028\\"","deep":{"a":[1.50,null]}')
  const text = await (await fetch(`${gateway.httpUrl}/vital-data/digits`)).text()
  t.same((JSON.parse(text) as Page['resources'][number]).vitals, { big: 1e308, small: 0.1, text: '\u2028"', deep: { a: [1.5, null] } })
})

t.test('a row of 12 MB is sent in parts, by itself and on a page, and HEAD of it has no body', async (t) => {
  const gateway = await startGateway(t)
  await post(t, gateway, 'long', `"wave":${LONG}`)
  await post(t, gateway, 'small', '"heartRateValue":60')
  const response = await fetch(`${gateway.httpUrl}/vital-data/long`)
  t.match(response.headers.get('content-type'), /^application\/json/)
  t.equal(response.headers.get('cache-control'), 'no-store')
  t.equal(response.headers.get('content-length'), null)
  const resource = await response.json() as Page['resources'][number]
  t.equal((resource.vitals['wave'] as number[]).length, 40_000)
  t.ok((resource.vitals['wave'] as number[]).every((value) => value === 1e308))
  const page = await (await fetch(`${gateway.httpUrl}/vital-data?sortBy=deviceId`)).json() as Page
  t.same(page.resources.map(({ deviceId }) => deviceId), ['small', 'long'])
  t.equal((await fetch(`${gateway.httpUrl}/vital-data/long`, { method: 'HEAD' })).status, 200)
  t.equal(await readMetric(gateway, 'vital_read_bytes'), 0)
})

t.test('the memory of clients that do not read, or that leave, is bounded and released', async (t) => {
  const gateway = await startGateway(t)
  await post(t, gateway, 'long', `"wave":${LONG}`)
  const sockets = Array.from({ length: 30 }, () => connect(gateway.httpPort, '127.0.0.1').on('error', () => {}))
  t.teardown(() => { for (const socket of sockets) socket.destroy() })
  for (const socket of sockets) socket.write('GET /vital-data/long HTTP/1.1\r\nhost: x\r\n\r\n')
  while (await readMetric(gateway, 'vital_read_bytes') === 0) await sleep(10)
  await sleep(500)
  const bytes = await readMetric(gateway, 'vital_read_bytes')
  t.ok(bytes < 64 * 1024 * 1024, `${bytes} bytes are held for readers that do not read`)
  const closed = Promise.all(sockets.map((socket) => once(socket, 'close')))
  for (const socket of sockets) socket.destroy()
  await closed
  while (await readMetric(gateway, 'vital_read_bytes') > 0) await sleep(10)
  // Until the gateway notices that the waiting clients have left, one more request may be refused.
  let answer = await fetch(`${gateway.httpUrl}/vital-data/long`)
  while (answer.status === 503) answer = await fetch(`${gateway.httpUrl}/vital-data/long`)
  t.equal(answer.status, 200, 'and others are served')
  await answer.arrayBuffer()
})

t.test('a read beyond the bound gets 503 with Retry-After, and ingest and logins have connections of their own', async (t) => {
  const gateway = await startGateway(t, { VITAL_DATABASE_CONNECTIONS_MAX: '3' })
  await post(t, gateway, 'a', '"heartRateValue":60')
  const unlock = await lockWhatReadsNeed(t, gateway)
  const refused = await Promise.all(Array.from({ length: 3 }, () => fetch(`${gateway.httpUrl}/vital-data?sortBy=deviceId`)))
  const busy = refused.filter(({ status }) => status === 503)
  t.ok(busy.length >= 2, 'the second and the third did not get their turn')
  for (const { headers } of busy) t.ok(headers.has('retry-after'))
  await expectError(t, busy.at(-1)!, 503, 'VITAL_READS_BUSY')
  await unlock()
  t.ok(await readMetric(gateway, 'vital_reads_refused_total') >= 2)
})

/** Takes a lock that reads must wait for and batches need not. @returns releases it */
async function lockWhatReadsNeed (t: Test, { connectionString }: TestGateway): Promise<() => Promise<void>> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  let isOver = false
  const end = async () => {
    if (!isOver) await client.end()
    isOver = true
  }
  t.teardown(end)
  await client.query('begin; lock table device_counts in access exclusive mode')
  return end
}
