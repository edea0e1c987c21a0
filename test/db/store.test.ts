import { hash, randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { createDatabase } from '../../db/database.ts'
import type { DeadLetterRow, ReadingRow } from '../../db/rows.ts'
import { createStore } from '../../db/store.ts'
import { toReadingRow } from '../../src/ingest/reading-row.ts'
import { exactly } from '../helpers/exactly.ts'
import { createTestDatabase, NOT_POOLED } from '../helpers/postgres.ts'
import { createRandom } from '../helpers/random.ts'

async function createTestStore (t: Test, poolSize = 4, timeouts: { statementTimeoutMs?: number } = {}) {
  const { connectionString, query } = await createTestDatabase(t)
  const database = createDatabase({ connectionString, poolSize, ...timeouts, logger: pino({ level: 'silent' }) })
  t.teardown(() => database.close())
  return { store: createStore(database), query, pool: database.pool }
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

t.test('rows come back exactly as written: microseconds, times before 2000, any text', async (t) => {
  const { store, query } = await createTestStore(t)
  const rows = [row('ä😀"\\', 0, {}), row('b', 946684799.999999, { x: 'y"\\\n€😀' }), row('c', 1750240830.123457,
    { deep: [{ a: [null, true, 1e300] }] })]
  t.same(await store.write(rows, [letter('\0\xff')]), { duplicates: [] })
  t.same(await query('select device, (extract(epoch from time) * 1000000)::bigint::text as us, vitals, extract(epoch from ' +
    'received_at)::float8 as received from readings order by time'), [
    { device: 'ä😀"\\', us: '0', vitals: {}, received: 1750000000.123 },
    { device: 'b', us: '946684799999999', vitals: { x: 'y"\\\n€😀' }, received: 1750000000.123 },
    { device: 'c', us: '1750240830123457', vitals: { deep: [{ a: [null, true, 1e300] }] }, received: 1750000000.123 }
  ])
  t.match(await query('select * from dead_letters'),
    exactly({ topic: 'vital/a\u2400b', client_id: null, reason: 'invalid_topic', payload: Buffer.from('\0\xff') }))
})

t.test('a batch written again changes nothing and returns its duplicates', async (t) => {
  const { store, query } = await createTestStore(t)
  const rows = [row('a', 1, { heartRateValue: 1 }), row('a', 1, { heartRateValue: 2 }), row('b', 2, {})]
  const letters = [letter('x')]
  await store.write(rows, letters)
  t.same(await store.write(rows, letters), { duplicates: [0, 1, 2] })
  const fresh = row('c', 3, {})
  t.same(await store.write([fresh, rows[0]!, fresh], []), { duplicates: [1, 2] })
  t.same(await query('select (select count(*)::int from readings) as readings, (select count(*)::int from dead_letters) as letters'),
    [{ readings: 4, letters: 1 }])
})

t.test('a batch may have a time-out of its own, longer or shorter than the session\'s, and the next one has the ' +
  'session\'s again', async (t) => {
  const { store, query } = await createTestStore(t, 1, { statementTimeoutMs: 300 })
  await query('create function nap() returns trigger language plpgsql as $$ begin perform pg_sleep((new.vitals->>\'nap\')::float8); ' +
    'return new; end $$')
  await query('create trigger nap before insert on readings for each row execute function nap()')
  await t.rejects(store.write([row('a', 1, { nap: 1 })], []), { code: '57014' })
  t.same(await store.write([row('a', 1, { nap: 1 })], [], 30_000), { duplicates: [] })
  t.same(await store.write([row('a', 1, { nap: 1 })], [], 30_000), { duplicates: [0] }, 'by insert … on conflict too')
  await t.rejects(store.write([row('a', 2, { nap: 1 })], []), { code: '57014' })
  await t.rejects(store.write([row('a', 3, { nap: 0.2 })], [], 50), { code: '57014' })
  t.same(await query('select time from readings'), [{ time: new Date(1000) }])
})

t.test('a device that keeps resending makes at most three batches fall back, and its new readings are stored', async (t) => {
  const { store, query } = await createTestStore(t)
  await query('create sequence inserted')
  await query('create function count_insert() returns trigger language plpgsql as $$ begin perform nextval(\'inserted\'); return ' +
    'new; end $$')
  await query('create trigger count_insert before insert on readings for each row execute function count_insert()')
  const [old, older] = [row('a', 1, {}), row('a', 2, {})]
  await store.write([old, older], [])
  const inserts = async () => {
    const [before] = await query('select last_value::int as n from inserted') as [{ n: number }]
    return async () => (await query('select last_value::int - $1 as n from inserted', [before.n]))[0]
  }
  for (let batch = 0; batch < 3; batch++) {
    const told = await inserts()
    t.same(await store.write([row('b', batch, {}), old], []), { duplicates: [1] })
    t.same(await told(), { n: 3 }, 'the first row by COPY, which fails, and both again')
  }
  const told = await inserts()
  const fresh = row('a', 3, {})
  t.same(await store.write([old, row('b', 10, {}), fresh, older, row('c', 1, {}), fresh], [letter('x')]), { duplicates: [0, 3, 5] })
  t.same(await told(), { n: 6 }, 'each row once')
  t.same(await store.write([old], []), { duplicates: [0] }, 'and alone')
  t.same(await store.write([row('b', 10, {})], []), { duplicates: [0] }, 'a duplicate of another device is still found')
  t.same(await query('select device, count(*)::int from readings group by 1 order by 1'),
    [{ device: 'a', count: 3 }, { device: 'b', count: 4 }, { device: 'c', count: 1 }])
  t.same(await query('select device, extract(epoch from time)::int as time from latest order by 1'),
    [{ device: 'a', time: 3 }, { device: 'b', time: 10 }, { device: 'c', time: 1 }])
})

t.test('a refused row leaves nothing of its batch behind, and the connection stays usable', async (t) => {
  const { store, query } = await createTestStore(t)
  const poison: ReadingRow = { ...row('a', 2, {}), vitals: '{"x":"\\u0000"}' }
  for (let round = 0; round < 6; round++) {
    await t.rejects(store.write([row('a', 1, {}), poison], [letter('x')]), { code: '22P05' })
  }
  t.same(await query('select (select count(*)::int from readings) as readings, (select count(*)::int from latest) as latest, (select ' +
    'count(*)::int from dead_letters) as letters'),
  [{ readings: 0, latest: 0, letters: 0 }])
  await store.write([row('a', 1, {})], [])
})

t.test('a connection that was left in a transaction stores nothing and claims nothing, and is not used again', async (t) => {
  const { store, query, pool } = await createTestStore(t, 1)
  // After this batch the store knows that the reading below needs a mark, and writes it in one attempt.
  await store.write([row('before', 0, {})], [])
  await query('delete from readings')
  for (const left of [['begin'], ['begin', 'savepoint a']]) {
    const client = await pool.connect()
    for (const statement of left) await client.query(statement)
    client.release()
    await t.rejects(store.write([row('a', 1, {})], []), { code: 'VITAL_UNKNOWN_OUTCOME' })
    t.same(await query('select device from readings'), [])
  }
  const client = await pool.connect()
  await client.query('begin')
  await client.query('no statement').catch(() => {})
  client.release()
  await t.rejects(store.write([row('a', 1, {})], []), { code: '25P02' })
  t.same(await store.write([row('a', 1, {})], []), { duplicates: [] })
  t.same(await query('select device from readings'), [{ device: 'a' }])
})

t.test('a connection that has lost its prepared statements is not used again', { skip: NOT_POOLED }, async (t) => {
  const { store, pool } = await createTestStore(t, 1)
  await store.write([row('a', 1, {})], [])
  await pool.query('deallocate all')
  await t.rejects(store.write([row('a', 2, {})], []), { code: '26000' })
  t.same(await store.write([row('a', 2, {})], []), { duplicates: [] })
})

t.test('an error in any statement leaves nothing behind, whether the connection has prepared its statements or not', async (t) => {
  const { store, query } = await createTestStore(t, 1)
  const counts = 'select (select count(*)::int from readings) as readings, (select count(*)::int from latest) as latest, (select ' +
    'count(*)::int from dead_letters) as letters'
  for (const known of [0, 1]) {
    for (const table of ['readings', 'dead_letters', 'latest']) {
      for (const [code, body] of [
        ['53100', 'raise exception \'full\' using errcode = \'53100\''],
        ['VITAL_UNKNOWN_OUTCOME', 'perform pg_terminate_backend(pg_backend_pid())']
      ]) {
        await query(`create function fail() returns trigger language plpgsql as $$ begin ${body}; return new; end $$`)
        await query(`create trigger fail before insert on ${table} for each row execute function fail()`)
        await t.rejects(store.write([row('b', 2, {})], [letter('y')]), { code }, `${table} ${code} ${known}`)
        t.same(await query(counts), [{ readings: known, latest: known, letters: known }])
        await query('drop function fail cascade')
      }
    }
    if (known === 0) await store.write([row('a', 1, {})], [letter('x')])
  }
})

t.test('a batch that cannot be encoded is a defect with a known outcome, because nothing was sent', async (t) => {
  const { store, query } = await createTestStore(t, 1)
  const broken = { ...letter('x'), errors: undefined as unknown as DeadLetterRow['errors'] }
  for (const known of [1, 2]) {
    await t.rejects(store.write([row('a', known, {})], [broken]), TypeError)
    t.same(await store.write([row('b', known, {})], [letter('y')]), { duplicates: [] })
  }
  t.same(await query('select distinct device from readings'), [{ device: 'b' }])
})

t.test('latest equals a model, whatever the order of readings and batches', async (t) => {
  const { store, query } = await createTestStore(t)
  const seed = Number(process.env['SEED'] ?? Date.now() % 1e9)
  t.comment(`seed ${seed}`)
  const random = createRandom(seed)
  const fields = ['heartRateValue', 'breathRateValue', 'breathValue', 'spo2Value', 'a"b', 'constructorX']
  const model = new Map<string, { time: number, fields: Map<string, { time: number, value: number }> }>()
  const rows: ReadingRow[] = []
  for (let index = 0; index < 3000; index++) {
    const device = `device-${Math.floor(random() * 20)}`
    const time = Math.floor(random() * 500) + Math.floor(random() * 4) / 4
    const reading: Record<string, number> = {}
    const known = model.get(device) ?? { time, fields: new Map<string, { time: number, value: number }>() }
    known.time = Math.max(known.time, time)
    for (const field of fields) {
      if (random() < 0.6) continue
      const value = Math.floor(random() * 1000) / 10
      reading[field] = value
      const seen = known.fields.get(field)
      if (seen === undefined || time > seen.time || (time === seen.time && value > seen.value)) known.fields.set(field, { time, value })
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
  // Two concurrent writers, and every fifth batch again, late, as by retries and replays.
  const queue = [...batches, ...batches.filter((_, index) => index % 5 === 0)]
  const lane = async () => {
    for (let batch = queue.shift(); batch !== undefined; batch = queue.shift()) await store.write(batch, [])
  }
  await Promise.all([lane(), lane()])

  const stored = await query<{
    device: string
    time: number
    heart_rate: number | null
    breath_rate: number | null
    vitals: Record<string, number>
    vital_times: Record<string, number>
  }>(
    'select device, extract(epoch from time)::float8 as time, heart_rate, breath_rate, vitals, vital_times from latest')
  t.equal(stored.length, model.size)
  for (const latest of stored) {
    const expected = model.get(latest.device)!
    t.equal(latest.time, expected.time)
    t.same(new Set(Object.keys(latest.vitals)), new Set(expected.fields.keys()))
    for (const [field, { time, value }] of expected.fields) {
      t.equal(latest.vital_times[field], time, `${latest.device} ${field}`)
      t.equal(latest.vitals[field], value, `${latest.device} ${field} is the largest of its newest instant`)
    }
    t.equal(latest.heart_rate, latest.vitals['heartRateValue'] ?? null)
    const [breathRate, breath] = [latest.vital_times['breathRateValue'], latest.vital_times['breathValue']]
    t.equal(latest.breath_rate, latest.vitals[(breathRate ?? -1) >= (breath ?? -1) ? 'breathRateValue' : 'breathValue'] ?? null)
  }
})

const RECEIVED_S = 1_750_000_000

t.test('of two values of one instant the larger one is the latest, whatever their order and however often they come', async (t) => {
  const { store, query } = await createTestStore(t)
  const latest = async () => (await query('select vitals, heart_rate, breath_rate from latest'))[0]
  const readings = [61, 99, 61].map((value) => row('a', 5, {
    heartRateValue: value,
    breathValue: value,
    note: value === 61
      ? { a: 1 }
      : 'z'
  }))
  for (const reading of readings) await store.write([reading], [])
  const expected = { vitals: { heartRateValue: 99, breathValue: 99, note: { a: 1 } }, heart_rate: 99, breath_rate: 99 }
  t.same(await latest(), expected, 'an object ranks above a string')
  await store.write(readings, [])
  t.same(await latest(), expected)
  await store.write([row('a', 5, { breathRateValue: 7 })], [])
  t.match(await latest(), { breath_rate: 7 }, 'of both names at one instant breathRateValue wins')
  await query('delete from latest')
  await query('delete from readings')
  await store.write(readings, [])
  t.same(await latest(), expected, 'in one batch')
})

t.test('concurrent batches with the same readings in another order do not deadlock', async (t) => {
  const { store, query } = await createTestStore(t)
  await query('create table readings_1970_01 partition of readings for values from (\'1970-01-01\') to (\'1970-02-01\')')
  const rows = Array.from({ length: 1000 }, (_, n) => row(`d${n % 300}`, n * 3, { n }))
  // Readings of another month, so that COPY fills the buffers of two partitions.
  rows.push(...Array.from({ length: 1000 }, (_, n) => row(`d${(n * 7) % 300}`, 3_000_000 + n * 3, { n })))
  const letters = Array.from({ length: 20 }, () => letter('x'))
  const before = await query<{ deadlocks: string }>('select deadlocks from pg_stat_database where datname = current_database()')
  for (let round = 0; round < 5; round++) {
    await Promise.all([
      store.write(rows, letters),
      store.write(rows.toReversed(), letters.toReversed()),
      store.write(rows.toSorted((a, b) => a.hash < b.hash ? -1 : 1), letters)
    ])
    await query('truncate readings, latest, dead_letters')
  }
  // Backends report their statistics once a second.
  await sleep(1500)
  const after = await query<{ deadlocks: string }>('select deadlocks from pg_stat_database where datname = current_database()')
  t.equal(after[0]?.deadlocks, before[0]?.deadlocks)
})

t.test('the heart rate derives from its sources, whatever fields the bound on a row removes', async (t) => {
  const { store, query } = await createTestStore(t)
  const many = Object.fromEntries(Array.from({ length: 900 }, (_, n) => [`field number ${n}`, hash('sha256', String(n))]))
  await store.write([row('a', 800, { heartRateValue: 61, breathValue: 12, spo2Value: 97 })], [])
  for (const [time, prefix] of [[900, 'a'], [950, 'b'], [1000, 'c']] as const) {
    await store.write([row('a', time, Object.fromEntries(Object.entries(many).map(([name, value]) => [prefix + name, value])))], [])
  }
  await store.write([row('a', 700, { heartRateValue: 33, breathRateValue: 9, spo2Value: 80 })], [])
  const [latest] = await query<{
    heart_rate: number
    breath_rate: number
    vitals: Record<string, unknown>
    vital_times: Record<string, number>
  }>('select * from latest')
  t.match(latest, { heart_rate: 61, breath_rate: 12, vitals: { heartRateValue: 61, breathValue: 12, breathRateValue: 9, spo2Value: 97 } })
  t.match(latest?.vital_times, { heartRateValue: 800, breathValue: 800, breathRateValue: 700, spo2Value: 800 })
  t.ok(Object.keys(latest!.vitals).length < 1100, 'and the rest is bounded')
})

t.test('a timestamp ahead of its receipt counts as of its receipt, and its redelivery changes nothing', async (t) => {
  const { store, query } = await createTestStore(t)
  const at = (receivedS: number, timestamp: number, value: number): ReadingRow => ({
    ...row('a', timestamp, { heartRateValue: value }), receivedAtMs: receivedS * 1000
  })
  const latest = async () => (await query('select heart_rate, extract(epoch from time)::float8 as time, ' +
    '(vital_times->\'heartRateValue\')::float8 as measured from latest'))[0]
  const ahead = at(RECEIVED_S, RECEIVED_S + 79_200, 61)
  t.same(await store.write([ahead], []), { duplicates: [] })
  t.same(await latest(), { heart_rate: 61, time: RECEIVED_S, measured: RECEIVED_S })
  await store.write([at(RECEIVED_S + 2, RECEIVED_S + 1, 70)], [])
  t.same(await latest(), { heart_rate: 70, time: RECEIVED_S + 1, measured: RECEIVED_S + 1 })
  const again = at(RECEIVED_S + 60, RECEIVED_S + 79_200, 61)
  for (let round = 0; round < 5; round++) {
    // From the third duplicate on the device counts as a resender, and its readings are inserted beside the COPY of others.
    t.same(await store.write([again, { ...at(RECEIVED_S + 60, round, 1), device: 'b' }], []), { duplicates: [0] })
    t.same((await query('select heart_rate from latest where device = \'a\''))[0], { heart_rate: 70 })
  }
  t.same(await query('select extract(epoch from time)::float8 as time from readings where device = \'a\' order by 1'),
    [{ time: RECEIVED_S + 1 }, { time: RECEIVED_S + 79_200 }], 'the history has the times that were sent')
  const rounded = at(RECEIVED_S + 90, RECEIVED_S + 94, 71)
  await store.write([rounded], [])
  t.match((await query('select heart_rate, extract(epoch from time)::float8 as time from latest where device = \'a\''))[0], {
    heart_rate: 71, time: RECEIVED_S + 94
  }, 'within five seconds the time is as sent')
  await t.rejects(store.write([again, at(RECEIVED_S + 99, RECEIVED_S + 99_000, 3), { ...ahead, device: 'c', vitals: '{"x":"\\u0000"}' }],
    []), { code: '22P05' })
  t.same(await store.write([again], []), { duplicates: [0] }, 'and an error within leaves no transaction open')
})

t.test('observers get new readings only, after COMMIT, in the order of the observers, before the write settles', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const database = createDatabase({ connectionString, poolSize: 2, logger: pino({ level: 'silent' }) })
  t.teardown(() => database.close())
  const seen: string[] = []
  const looks: Array<Promise<unknown>> = []
  const store = createStore({
    ...database,
    onStored: [
      (rows) => {
        seen.push(`first: ${rows.map(({ device }) => device).join(' ')}`)
        looks.push(database.pool.query('select count(*)::int as n from readings').then(({ rows: [row] }) => row))
      },
      () => { seen.push('second') }
    ]
  })
  const write = store.write([row('a', 1, {}), row('b', 2, {})], [])
  t.same(seen, [])
  await write
  t.same(seen, ['first: a b', 'second'])
  t.same(await Promise.all(looks), [{ n: 2 }], 'another connection sees the rows')
  await t.rejects(store.write([row('a', 3, {}), { ...row('b', 4, {}), vitals: 'no json' }], []))
  t.equal(seen.length, 2, 'a rolled-back batch is not observed')
})
