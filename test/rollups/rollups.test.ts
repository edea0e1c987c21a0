import { setTimeout as sleep } from 'node:timers/promises'
import { type Kysely, sql } from 'kysely'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { createDatabase } from '../../db/database.ts'
import { rebuild } from '../../db/rollups/rebuilding.ts'
import { seal } from '../../db/rollups/sealing.ts'
import { compareSample } from '../../db/rollups/sample.ts'
import { type BucketQuery, selectBuckets } from '../../db/rollups/select-buckets.ts'
import { createStore } from '../../db/store.ts'
import type { Tables } from '../../db/tables.ts'
import { toReadingRow } from '../../src/ingest/reading-row.ts'
import { createRollupWorker } from '../../src/rollups/rollup-worker.ts'
import { exactly } from '../helpers/exactly.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'
import { recompute, type StoredReading, toNumbers } from '../helpers/recompute.ts'

const logger = pino({ level: 'silent' })
const HOUR_S = 3600
/** 2025-06-15T15:00:00Z. */
const BASE_S = 1_750_000_000 - 1_750_000_000 % HOUR_S

const ALL = { device: 'a', isDescending: false, bucketsMax: 100 }

/** A reading by which a closing finds the device. */
const toLatest = (timeS: number) => `
  insert into latest (device, time, oldest_time, vitals, vital_times) values ('a', to_timestamp(${timeS}), now(), '{}', '{}')`

/** A database whose averages are computed up to `closedS`, and a worker whose clock is fixed at `nowS`. */
async function setUp (t: Test, { closedS = BASE_S, nowS = BASE_S + 2 * HOUR_S } = {}) {
  const { connectionString, query } = await createTestDatabase(t)
  await query('update rollup_state set open_from = to_timestamp($1::float8), closed_before = to_timestamp($1::float8)', [closedS])
  const database = createDatabase({ connectionString, poolSize: 4, logger })
  t.teardown(() => database.close())
  const { kysely } = database
  const toWorker = (clockS: number) => createRollupWorker({
    kysely, nowMs: () => clockS * 1000, isSaturated: () => false, logger
  })
  const worker = toWorker(nowS)
  const store = createStore(database)
  return {
    connectionString,
    query,
    kysely,
    worker,
    toWorker,
    async drain (by = worker) { while (await by.step() !== 'idle') continue },
    write: (device: string, timeS: number, fields: Record<string, unknown>, receivedAtS = nowS) =>
      store.write([toReadingRow({ timestamp: timeS, ...fields }, device, receivedAtS * 1000)], []),
    select: (fromS: number, toS: number, more: Partial<BucketQuery> = {}) => selectBuckets(kysely, {
      ...ALL, fromUs: fromS * 1e6, toUs: toS * 1e6, size: { seconds: 300 }, hasWholeHours: false, ...more
    })
  }
}

const COUNTS = `select (select count(*)::int from rollups_5m) as fives, (select count(*)::int from rollups_1h) as hours,
  (select count(*)::int from rollup_late) as marks`

t.test('closed buckets come from roll-ups, open ones from readings', async (t) => {
  const { query, drain, write, select } = await setUp(t, { nowS: BASE_S + HOUR_S + 400 })
  await write('a', BASE_S + 1, { heartRateValue: 60 })
  await write('a', BASE_S + HOUR_S + 310, { heartRateValue: 80 })
  await drain()
  t.same(await query(COUNTS), [{ fives: 1, hours: 1, marks: 0 }])
  await query('update rollups_5m set heart_rate_max = 61')
  t.match(await select(BASE_S, BASE_S + 2 * HOUR_S), exactly({
    from: BASE_S,
    to: BASE_S + 300,
    count: 1,
    vitals: exactly(['heartRateValue', { count: 1, min: '60', max: '61', first: '60', last: '60' }])
  }, { from: BASE_S + HOUR_S + 300, vitals: exactly(['heartRateValue', { max: '80' }]) }))
})

t.test('a late reading marks the bucket of its own device, and no other', async (t) => {
  const { query, drain, write, select } = await setUp(t)
  for (const device of ['a', 'b']) await write(device, BASE_S + 1, { heartRateValue: 60 })
  await drain()
  await query('update rollups_5m set heart_rate_min = 1')
  await write('a', BASE_S + 2, { heartRateValue: 70 })
  t.match(await query('select device, extract(epoch from time)::float8 as time from rollup_late'), exactly({ device: 'a', time: BASE_S }))
  const [marked] = await select(BASE_S, BASE_S + 300)
  t.match(marked!.vitals, exactly(['heartRateValue', { count: 2, min: '60', max: '70' }]), 'marked: from readings')
  await drain()
  t.same(await query('select device, heart_rate_min::int as min, heart_rate_count as count from rollups_5m order by device'),
    [{ device: 'a', min: 60, count: 2 }, { device: 'b', min: 1, count: 1 }])
  t.same(await query('select heart_rate_count as count from rollups_1h order by device'), [{ count: 2 }, { count: 1 }])
})

t.test('a reading ahead of its receipt counts in its hour, also as the only one of that hour', async (t) => {
  const { query, drain, write, select, toWorker } = await setUp(t, { nowS: BASE_S + 60 })
  await write('a', BASE_S + HOUR_S + 310, { heartRateValue: 60 })
  for (const nowS of [BASE_S + HOUR_S + 700, BASE_S + 2 * HOUR_S + 700]) await drain(toWorker(nowS))
  t.same(await query(COUNTS), [{ fives: 1, hours: 1, marks: 0 }])
  t.match(await select(BASE_S, BASE_S + 2 * HOUR_S, { size: { seconds: HOUR_S }, hasWholeHours: true }), exactly({ count: 1 }))
})

t.test('a redelivery, before and after a closing, changes no average', async (t) => {
  const { drain, write, select } = await setUp(t)
  for (let round = 0; round < 3; round++) {
    await write('a', BASE_S + 1, { heartRateValue: 60 })
    await drain()
    t.match(await select(BASE_S, BASE_S + 300), exactly({ count: 1, vitals: exactly(['heartRateValue', { count: 1, sum: '60' }]) }))
  }
})

t.test('values that a double cannot hold, and fields of other types, do not break a bucket', async (t) => {
  const { query, drain, select } = await setUp(t)
  await query(toLatest(BASE_S + 9))
  const values = ['1e400', '1e-400', '"70"', 'null', '[1]', '71', '0.1', '0.2']
  for (const [at, value] of values.entries()) {
    await query(`insert into readings values ('a', to_timestamp(${BASE_S + at}), gen_random_uuid(), '{"heartRateValue": ${value}}', now())`)
  }
  const check = async (about: string) => {
    const [bucket] = await select(BASE_S, BASE_S + 300)
    t.match(bucket, { count: 8, vitals: exactly(['heartRateValue', { count: 5, first: /^10{400}$/, last: '0.2' }]) }, about)
    t.equal(bucket!.vitals[0]![1].sum.length, 401 + 1 + 400, 'every digit of the sum')
  }
  await check('from readings')
  await drain()
  t.same(await query(COUNTS), [{ fives: 1, hours: 1, marks: 0 }])
  await check('from roll-ups')
})

t.test('first and last of one instant are decided by the identity, in any order of arrival', async (t) => {
  const { drain, write, select } = await setUp(t)
  const values = [71, 72, 73, 74]
  for (const value of values) await write('a', BASE_S + 1, { heartRateValue: value })
  const [before] = await select(BASE_S, BASE_S + 300)
  await drain()
  const [after] = await select(BASE_S, BASE_S + 300)
  t.same(after, before)
  const order = values.map((value) => toReadingRow({ timestamp: 1, heartRateValue: value }, 'a', 0))
    .sort((a, b) => a.hash < b.hash ? -1 : 1).map(({ fields }) => String(fields['heartRateValue']))
  t.match(after!.vitals, exactly(['heartRateValue', { first: order[0], last: order.at(-1) }]))
})

t.test('days of a time zone: 23 hours in March, and a start at 18:15 UTC', async (t) => {
  // 2026-03-28T12:00:00Z, and a reading every five minutes from then on.
  const startS = Date.parse('2026-03-28T12:00:00Z') / 1000
  const { kysely, query, drain } = await setUp(t, { closedS: startS, nowS: startS + 3 * 86_400 })
  await query(toLatest(startS + 3 * 86_400))
  await query(`
    insert into readings select 'a', to_timestamp(${startS} + s * 300), gen_random_uuid(), '{"heartRateValue": 60}', now()
    from generate_series(0, 863) s`)
  const days = (dayOf: string, hasWholeHours: boolean) => selectBuckets(kysely, {
    ...ALL, fromUs: startS * 1e6, toUs: (startS + 3 * 86_400) * 1e6, size: { dayOf }, hasWholeHours
  })
  for (const about of ['from readings', 'from roll-ups']) {
    t.same((await days('Europe/Berlin', true)).map(({ count }) => count), [132, 276, 288, 168], about)
    const kathmandu = await days('Asia/Kathmandu', false)
    t.same(kathmandu.map(({ count }) => count), [75, 288, 288, 213], about)
    t.equal(new Date(kathmandu[1]!.from * 1000).toISOString(), '2026-03-28T18:15:00.000Z')
    await drain()
  }
})

t.test('an existing database is rolled up backwards, day by day, and its averages are right meanwhile', async (t) => {
  const { query, worker, select } = await setUp(t)
  await query('update rollup_state set built_from = to_timestamp($1::float8)', [BASE_S])
  const rows: StoredReading[] = []
  for (const [at, beforeS] of [1, 400, 90_000, 86_400 * 40, 86_400 * 2000].entries()) {
    const time = BASE_S - beforeS
    rows.unshift({ time, vitals: { heartRateValue: 60 + at } })
    await query('insert into readings values (\'a\', to_timestamp($1::float8), gen_random_uuid(), $2, now())',
      [time, JSON.stringify({ heartRateValue: 60 + at })])
  }
  await query(toLatest(BASE_S - 1))
  const expected = recompute(rows, 300)
  let steps = 0
  do {
    t.same((await select(BASE_S - 86_400 * 2001, BASE_S)).map(toNumbers), expected, `before step ${steps}`)
  } while (++steps < 60 && await worker.step() === 'worked')
  t.same(await query(COUNTS), [{ fives: 5, hours: 4, marks: 0 }])
  t.same(await query('select built_from = \'-infinity\' as all from rollup_state'), [{ all: true }])
  t.ok(steps < 20, 'gaps are skipped')
})

t.test('rows that were not written by a gateway are found by a rebuild', async (t) => {
  const { query, kysely, drain, write, select } = await setUp(t)
  await write('a', BASE_S + 1, { heartRateValue: 60 })
  await drain()
  await query(`insert into readings select 'a', to_timestamp(${BASE_S + 2}), gen_random_uuid(), '{"heartRateValue": 70}', now()`)
  await query(`insert into readings select 'past', to_timestamp(${BASE_S - 40_000}), gen_random_uuid(), '{"heartRateValue": 70}', now()`)
  t.match(await select(BASE_S, BASE_S + 300), exactly({ count: 1 }), 'a rebuild is needed')
  const options = { kysely, fromS: 0, toS: BASE_S + HOUR_S, device: null, onStep: () => {}, isStopping: () => false }
  t.match(await rebuild(options), { devices: 2, buckets: 2 })
  t.match(await select(BASE_S, BASE_S + 300), exactly({ count: 2 }))
  t.same(await query(COUNTS), [{ fives: 2, hours: 2, marks: 0 }])
  await query('delete from readings where device = \'past\'')
  await rebuild(options)
  t.same(await query(COUNTS), [{ fives: 1, hours: 1, marks: 0 }], 'and averages of deleted rows are deleted')
})

t.test('a rebuild within an hour that is not over keeps a reading ahead of its receipt', async (t) => {
  const { query, kysely, drain, write, select, toWorker } = await setUp(t, { nowS: BASE_S + 60 })
  await write('a', BASE_S + HOUR_S + 310, { heartRateValue: 60 })
  await drain(toWorker(BASE_S + HOUR_S + 700))
  t.same(await query(COUNTS), [{ fives: 1, hours: 1, marks: 0 }], 'its mark is used up')
  await rebuild({ kysely, fromS: BASE_S, toS: BASE_S + 2 * HOUR_S, device: null, onStep: () => {}, isStopping: () => false })
  await drain(toWorker(BASE_S + 2 * HOUR_S + 700))
  t.same(await query(COUNTS), [{ fives: 1, hours: 1, marks: 0 }])
  t.match(await select(BASE_S, BASE_S + 2 * HOUR_S, { size: { seconds: HOUR_S }, hasWholeHours: true }), [{ count: 1 }])
})

t.test('a rebuild cannot erase averages that outlived their readings', async (t) => {
  const { query, kysely, drain, write, select } = await setUp(t)
  await write('a', BASE_S - 2 * HOUR_S, { heartRateValue: 60 })
  await write('a', BASE_S + 1, { heartRateValue: 61 })
  await drain()
  t.equal(await seal(kysely, BASE_S + 99, () => false), BASE_S)
  await query(`delete from readings where time < to_timestamp(${BASE_S})`)
  const all = 'select * from rollups_5m order by device, time'
  const before = await query(all)
  const options = { kysely, device: null, onStep: () => {}, isStopping: () => false }
  await t.rejects(rebuild({ ...options, fromS: 0, toS: BASE_S - HOUR_S }), { code: 'VITAL_ROLLUPS_SEALED' })
  t.same(await query(all), before)
  await query('update rollups_5m set heart_rate_max = 99')
  t.match(await rebuild({ ...options, fromS: 0, toS: BASE_S + HOUR_S }), { fromS: BASE_S, buckets: 1 }, 'the newer part')
  t.match(await select(BASE_S - 3 * HOUR_S, BASE_S + HOUR_S), exactly(
    { vitals: exactly(['heartRateValue', { max: '99' }]) }, { vitals: exactly(['heartRateValue', { max: '61' }]) }
  ))
})

t.test('the worker pauses while ingest is saturated, and catches up afterwards', async (t) => {
  const { query, kysely, write } = await setUp(t)
  await write('a', BASE_S + 1, { heartRateValue: 60 })
  let isSaturated = true
  const worker = createRollupWorker({
    kysely, nowMs: () => (BASE_S + 2 * HOUR_S) * 1000, isSaturated: () => isSaturated, logger
  })
  worker.start()
  t.teardown(worker.stop)
  await sleep(1000)
  t.same(await query(COUNTS), [{ fives: 0, hours: 0, marks: 0 }])
  isSaturated = false
  await until(async () => (await query<{ fives: number }>(COUNTS))[0]!.fives === 1)
  t.pass('closed')
})

t.test('the audit samples averages and computes them again', async (t) => {
  const { query, kysely, drain, write } = await setUp(t)
  for (const timeS of [1, 400, 3500]) await write('a', BASE_S + timeS, { heartRateValue: 60 })
  await drain()
  t.same(await compareSample(kysely, 10), { fives: 3, hours: 1, wrong: 0, example: null })
  await query('update rollups_5m set heart_rate_max = 61 where time = to_timestamp($1::float8)', [BASE_S + 300])
  t.match(await compareSample(kysely, 10), { wrong: 2, example: { device: 'a' } }, 'the bucket, and its hour')
  await query('update rollups_5m set heart_rate_max = 60')
  await query('delete from rollups_5m where time = to_timestamp($1::float8)', [BASE_S])
  t.match(await compareSample(kysely, 10), { wrong: 2, example: { device: 'a', timeS: BASE_S } }, 'a missing average')
  await write('a', BASE_S + 1, { heartRateValue: 61 })
  t.match(await compareSample(kysely, 10), { fives: 2, hours: 0, wrong: 0 }, 'a marked bucket is left out')
})

t.test('a reading older than the final averages is counted, and changes no average', async (t) => {
  const { query, kysely, worker, drain, write, select } = await setUp(t)
  await write('a', BASE_S - HOUR_S, { heartRateValue: 60 })
  await drain()
  await seal(kysely, BASE_S, () => false)
  await write('a', BASE_S - HOUR_S + 1, { heartRateValue: 90 })
  t.match(await select(BASE_S - HOUR_S, BASE_S), exactly({ count: 1 }))
  await drain()
  t.match(await select(BASE_S - HOUR_S, BASE_S), exactly({ count: 1 }))
  t.equal(worker.counts.sealedMarks, 1)
  t.same(await query(COUNTS), [{ fives: 1, hours: 1, marks: 0 }])
})

async function insertReading (writer: Kysely<Tables>): Promise<void> {
  await sql`
    insert into readings values ('a', to_timestamp(${BASE_S + 5}::float8), gen_random_uuid(), '{"heartRateValue": 60}', now())`
    .execute(writer)
}

t.test('a transaction that writes readings delays closing and is named, and its readings count', async (t) => {
  const { query, kysely, worker, drain, select } = await setUp(t)
  const other = createDatabase({ ...await createTestDatabase(t), poolSize: 1, logger })
  t.teardown(() => other.close())
  // An idle transaction in another database delays nothing.
  await other.kysely.transaction().execute(async (writer) => {
    await insertReading(writer)
    await drain()
    const closed = 'select extract(epoch from closed_before)::float8 > $1 as closed from rollup_state'
    t.match(await query(closed, [BASE_S]), exactly({ closed: true }))
  })
  await query('update rollup_state set open_from = to_timestamp($1::float8), closed_before = to_timestamp($1::float8)', [BASE_S])
  await kysely.transaction().execute(async (writer) => {
    await sql.raw(toLatest(BASE_S + 9)).execute(writer)
    await insertReading(writer)
    for (let step = 0; step < 3; step++) t.equal(await worker.step(), 'waiting')
    t.match(await select(BASE_S, BASE_S + 300), exactly())
  })
  await drain()
  t.same(await query(COUNTS), [{ fives: 1, hours: 1, marks: 0 }])
})
