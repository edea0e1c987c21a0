import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { createDatabase } from '../../db/database.ts'
import type { DeadLetterRow, ReadingRow } from '../../db/rows.ts'
import { createStore } from '../../db/store.ts'
import { toReadingRow } from '../../src/ingest/reading-row.ts'
import { createTestDatabase } from '../postgres.ts'
import { createRandom } from '../random.ts'

async function createTestStore (t: Test) {
  const { connectionString, query } = await createTestDatabase(t)
  const database = createDatabase({ connectionString, poolSize: 4, logger: pino({ level: 'silent' }) })
  t.teardown(() => database.close())
  return { store: createStore(database), query }
}

const row = (device: string, timestamp: number, fields: Record<string, unknown>): ReadingRow =>
  toReadingRow({ timestamp, ...fields }, device, 1_750_000_000_123)

const letter = (payload: string): DeadLetterRow => ({
  id: randomUUID(),
  receivedAtMs: 1_750_000_000_123,
  transport: 'mqtt',
  topic: 'vital/a\0b',
  clientId: null,
  device: null,
  reason: 'invalid_topic',
  errors: [{ path: '/a\0', message: 'half a pair \ud83d' }],
  payload: Buffer.from(payload)
})

t.test('what is written comes back exactly: microseconds, before 2000 and before 1970 excluded by the schema, any text', async (t) => {
  const { store, query } = await createTestStore(t)
  const rows = [row('ä😀"\\', 0, {}), row('b', 946684799.999999, { x: 'y"\\\n€😀' }), row('c', 1750240830.123457, { deep: [{ a: [null, true, 1e300] }] })]
  t.same(await store.write(rows, [letter('\0\xff')]), { duplicates: [] })
  t.same(await query('select device, (extract(epoch from time) * 1000000)::bigint::text as us, vitals, extract(epoch from received_at)::float8 as received from readings order by time'), [
    { device: 'ä😀"\\', us: '0', vitals: {}, received: 1750000000.123 },
    { device: 'b', us: '946684799999999', vitals: { x: 'y"\\\n€😀' }, received: 1750000000.123 },
    { device: 'c', us: '1750240830123457', vitals: { deep: [{ a: [null, true, 1e300] }] }, received: 1750000000.123 }
  ])
  t.match(await query('select * from dead_letters'), [{ topic: 'vital/a\u2400b', client_id: null, reason: 'invalid_topic', payload: Buffer.from('\0\xff') }])
})

t.test('a batch written again changes nothing and tells which readings were there', async (t) => {
  const { store, query } = await createTestStore(t)
  const rows = [row('a', 1, { heartRateValue: 1 }), row('a', 1, { heartRateValue: 2 }), row('b', 2, {})]
  const letters = [letter('x')]
  await store.write(rows, letters)
  t.same(await store.write(rows, letters), { duplicates: [0, 1, 2] })
  const fresh = row('c', 3, {})
  t.same(await store.write([fresh, rows[0]!, fresh], []), { duplicates: [1, 2] })
  t.same(await query('select (select count(*)::int from readings) as readings, (select count(*)::int from dead_letters) as letters'), [{ readings: 4, letters: 1 }])
})

t.test('a refused row leaves nothing of its batch behind, and the connection stays usable', async (t) => {
  const { store, query } = await createTestStore(t)
  const poison: ReadingRow = { ...row('a', 2, {}), vitals: '{"x":"\\u0000"}' }
  for (let round = 0; round < 6; round++) {
    await t.rejects(store.write([row('a', 1, {}), poison], [letter('x')]), { code: '22P05' })
  }
  t.same(await query('select (select count(*)::int from readings) as readings, (select count(*)::int from latest) as latest, (select count(*)::int from dead_letters) as letters'),
    [{ readings: 0, latest: 0, letters: 0 }])
  await store.write([row('a', 1, {})], [])
})

t.test('latest equals a model, whatever the order of readings and batches', async (t) => {
  const { store, query } = await createTestStore(t)
  const seed = Number(process.env['SEED'] ?? Date.now() % 1e9)
  t.comment(`seed ${seed}`)
  const random = createRandom(seed)
  const fields = ['heartRateValue', 'breathRateValue', 'breathValue', 'spo2Value', 'a"b', 'constructorX']
  const model = new Map<string, { time: number, fields: Map<string, { time: number, values: Set<number> }> }>()
  const rows: ReadingRow[] = []
  for (let index = 0; index < 3000; index++) {
    const device = `device-${Math.floor(random() * 20)}`
    const time = Math.floor(random() * 500) + Math.floor(random() * 4) / 4
    const reading: Record<string, number> = {}
    const known = model.get(device) ?? { time, fields: new Map<string, { time: number, values: Set<number> }>() }
    known.time = Math.max(known.time, time)
    for (const field of fields) {
      if (random() < 0.6) continue
      const value = Math.floor(random() * 1000) / 10
      reading[field] = value
      const seen = known.fields.get(field)
      if (seen === undefined || time > seen.time) known.fields.set(field, { time, values: new Set([value]) })
      else if (time === seen.time) seen.values.add(value)
    }
    model.set(device, known)
    rows.push(row(device, time, reading))
  }
  const batches: ReadingRow[][] = []
  for (let at = 0; at < rows.length;) {
    const size = 1 + Math.floor(random() * 120)
    batches.push(rows.slice(at, at + size))
    at += size
  }
  // Two lanes, and every fifth batch once more, late: what retries and replays do.
  const queue = [...batches, ...batches.filter((_, index) => index % 5 === 0)]
  const lane = async () => {
    for (let batch = queue.shift(); batch !== undefined; batch = queue.shift()) await store.write(batch, [])
  }
  await Promise.all([lane(), lane()])

  const stored = await query<{ device: string, time: number, heart_rate: number | null, breath_rate: number | null, vitals: Record<string, number>, vital_times: Record<string, number> }>(
    'select device, extract(epoch from time)::float8 as time, heart_rate, breath_rate, vitals, vital_times from latest')
  t.equal(stored.length, model.size)
  for (const latest of stored) {
    const expected = model.get(latest.device)!
    t.equal(latest.time, expected.time)
    t.same(new Set(Object.keys(latest.vitals)), new Set(expected.fields.keys()))
    for (const [field, { time, values }] of expected.fields) {
      t.equal(latest.vital_times[field], time, `${latest.device} ${field}`)
      t.ok(values.has(latest.vitals[field]!), `${latest.device} ${field} is one of the values of its newest instant`)
    }
    t.equal(latest.heart_rate, latest.vitals['heartRateValue'] ?? null)
    const [breathRate, breath] = [latest.vital_times['breathRateValue'], latest.vital_times['breathValue']]
    t.equal(latest.breath_rate, latest.vitals[(breathRate ?? -1) >= (breath ?? -1) ? 'breathRateValue' : 'breathValue'] ?? null)
  }
})
