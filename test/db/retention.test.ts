import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { createDatabase } from '../../db/database.ts'
import { createPartitionsAhead } from '../../db/partitions.ts'
import { type Removed, removeExpired } from '../../db/retention.ts'
import { createStore } from '../../db/store.ts'
import { toReadingRow } from '../../src/ingest/reading-row.ts'
import { exactly } from '../helpers/exactly.ts'
import { connectClient, readLedger, startGateway } from '../helpers/gateway.ts'
import { createTestDatabase, createTestDir } from '../helpers/postgres.ts'

const silent = pino({ level: 'silent' })

/** With ten days kept, May ends exactly at the limit. */
const now = new Date('2025-06-11T00:00:00Z')
const DAYS = 10

/** Partitions of March, April, May and June 2025, and the default one. */
async function setUp (t: Test) {
  const { connectionString, query } = await createTestDatabase(t)
  const database = createDatabase({ connectionString, poolSize: 4, logger: silent })
  t.teardown(() => database.close())
  await createPartitionsAhead({ database, now: new Date('2025-03-15T00:00:00Z'), logger: silent })
  const insert = (time: string, rows = 1) => query(
    'insert into readings select \'d\', $1, gen_random_uuid(), \'{"a":1}\', now() from generate_series(1, $2)', [time, rows])
  const remove = async (options: { now?: Date, isStopping?: () => boolean } = {}) => {
    const logs: Array<Record<string, unknown>> = []
    const removed: Removed[] = []
    await removeExpired({
      connectionString,
      table: 'readings',
      days: DAYS,
      now,
      logger: pino({}, { write: (line: string) => { logs.push(JSON.parse(line) as Record<string, unknown>) } }),
      isStopping: () => false,
      onRemoved: (step) => { removed.push(step) },
      ...options
    })
    const sum = (key: keyof Removed) => removed.reduce((total, step) => total + step[key], 0)
    return { removed: { partitions: sum('partitions'), rows: sum('rows') }, logs }
  }
  return { connectionString, database, query, insert, remove }
}

const PARTITIONS = 'select relname from pg_inherits join pg_class on pg_class.oid = inhrelid where inhparent = ' +
  '\'readings\'::regclass order by 1'

t.test('drops whole months and deletes from the default partition, up to the limit and no further', async (t) => {
  const { query, insert, remove } = await setUp(t)
  for (const time of ['2025-03-01', '2025-04-30 23:59:59', '2025-05-31 23:59:59.999999+00']) await insert(time)
  const kept = ['2025-06-01 00:00:00+00', '2025-06-20', '2025-07-01', '2031-01-01']
  for (const time of kept) await insert(time)
  await insert('2024-12-31', 4500)
  await query('insert into latest (device, time, oldest_time, vitals, vital_times) values (\'d\', \'2024-12-31\', \'2024-12-31\', ' +
    '\'{}\', \'{}\')')
  await query('insert into dead_letters values (gen_random_uuid(), \'2024-12-31\', \'mqtt\', null, null, null, \'invalid_json\', ' +
    '\'[]\', \'x\')')

  const { removed, logs } = await remove()
  t.same(removed, { partitions: 3, rows: 4503 })
  t.same(await query(PARTITIONS), [{ relname: 'readings_2025_06' }, { relname: 'readings_default' }])
  t.same(await query('select count(*)::int, min(time) = \'2025-06-01 00:00:00+00\' as exact from readings'),
    [{ count: kept.length, exact: true }])
  t.same(await query('select (select count(*)::int from latest) as latest, (select count(*)::int from dead_letters) as letters'),
    [{ latest: 1, letters: 1 }])
  t.match(logs, exactly(
    { msg: 'expired partition dropped', partition: 'readings_2025_03', rows: 1, isEstimate: false, days: DAYS },
    { partition: 'readings_2025_04', rows: 1 },
    { partition: 'readings_2025_05', rows: 1 },
    { msg: 'expired rows deleted', partition: 'readings_default', rows: 4500 }
  ))

  const again = await remove()
  t.same(again, { removed: { partitions: 0, rows: 0 }, logs: [] })
})

t.test('old rows between new ones are all found, whatever the batches', async (t) => {
  const { query, insert, remove } = await setUp(t)
  for (let round = 0; round < 5; round++) {
    await insert('2024-01-01', 1300)
    await insert('2031-01-01', 700)
  }
  t.equal((await remove()).removed.rows, 6500)
  t.same(await query('select count(*)::int, count(*) filter (where time < \'2025-06-01\')::int as old from readings'),
    [{ count: 3500, old: 0 }])
})

t.test('a clock that is years ahead removes nothing that is young by the clock of PostgreSQL', async (t) => {
  const { query, insert, remove } = await setUp(t)
  await insert(new Date().toISOString())
  await insert('2025-03-01')
  t.same((await remove({ now: new Date('2090-01-01') })).removed, { partitions: 4, rows: 1 })
  t.same(await query('select count(*)::int from readings'), [{ count: 1 }])
})

t.test('partitions without an end, and tables that are no partitions, stay', async (t) => {
  const { query, remove } = await setUp(t)
  await query('create table readings_ancient partition of readings for values from (minvalue) to (\'2020-01-01\')')
  await query('create table readings_far partition of readings for values from (\'2040-01-01\') to (maxvalue)')
  await query('alter table readings detach partition readings_2025_03')
  t.equal((await remove()).removed.partitions, 3)
  t.same(await query('select to_regclass(\'readings_2025_03\') is not null as kept'), [{ kept: true }])
  t.same((await query(PARTITIONS)).map((row) => row['relname']), ['readings_2025_06', 'readings_default', 'readings_far'])
})

t.test('several gateways at once: each partition and each reading is removed by one', async (t) => {
  const { query, insert, remove } = await setUp(t)
  for (const time of ['2025-03-01', '2025-04-01', '2025-05-01']) await insert(time, 10)
  await insert('2024-01-01', 9000)
  const runs = await Promise.all([remove(), remove(), remove()])
  const sum = (key: keyof Removed) => runs.reduce((total, { removed }) => total + removed[key], 0)
  t.equal(sum('partitions'), 3)
  t.equal(sum('rows'), 9030)
  t.same(await query('select count(*)::int from readings'), [{ count: 0 }])
})

t.test('a stop ends a run between two steps', async (t) => {
  const { insert, remove } = await setUp(t)
  await insert('2024-01-01', 10_000)
  let asked = 0
  const { removed, logs } = await remove({ isStopping: () => ++asked > 6 })
  t.equal(removed.partitions, 3)
  t.equal(removed.rows, 4000, 'isStopping is asked once for the roll-ups, three times for the months, twice for the batches')
  t.match(logs.at(-1), { rows: 4000 })
})

t.test('waiting behind a long query, it lets ingest pass and drops once the query has ended', async (t) => {
  const { connectionString, insert, query, remove } = await setUp(t)
  await insert('2025-05-01')
  // A writer that waits for a second fails, long before the time at which a batch would go to the spool.
  const database = createDatabase({ connectionString: `${connectionString}?options=-clock_timeout%3D1000`, poolSize: 2, logger: silent })
  t.teardown(() => database.close())
  const store = createStore(database)
  const reader = new pg.Client({ connectionString })
  await reader.connect()
  t.teardown(() => reader.end())
  await reader.query('begin')
  await reader.query('select count(*) from readings')

  const state = { isDone: false }
  const running = remove().finally(() => { state.isDone = true })
  let written = 0
  const write = async () => {
    const at = written++
    // Readings for expired months, kept months and the default partition.
    const times = [1_746_057_600 + at, 1_750_240_800 + at, 1_900_000_000 + at]
    await store.write(times.map((timestamp) => toReadingRow({ timestamp, heartRateValue: at }, 'w', Date.now())), [])
    await sleep(5)
  }
  const heldUntil = performance.now() + 4000
  while (performance.now() < heldUntil) await write()
  t.equal(state.isDone, false, 'the query still holds readings')
  t.equal((await query(PARTITIONS)).length, 5)
  await reader.query('commit')
  while (!state.isDone) await write()
  const { removed } = await running
  t.equal(removed.partitions, 3)
  t.same(await query('select count(*)::int from readings where time >= \'2025-06-01\''), [{ count: written * 2 }])
})

t.test('a gateway removes expired readings by itself, while devices publish', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const database = createDatabase({ connectionString, poolSize: 1, logger: silent })
  await createPartitionsAhead({ database, now: new Date('2025-03-15T00:00:00Z'), logger: silent })
  await database.close()
  await query('insert into readings select \'old\', timestamptz \'2024-01-01\' + n * interval \'1 minute\', gen_random_uuid(), \'{}\', ' +
    '\'2024-01-01\' from generate_series(1, 6000) n')
  await query('insert into readings select \'old\', timestamptz \'2025-03-02\' + n * interval \'1 minute\', gen_random_uuid(), \'{}\', ' +
    '\'2024-01-01\' from generate_series(1, 1000) n')
  const { mqttPort, httpUrl } = await startGateway(t, {
    DATABASE_URL: connectionString, VITAL_DATA_DIR: await createTestDir(t), VITAL_RETENTION_DAYS: '30'
  })
  const device = await connectClient(t, mqttPort)
  const startedS = Math.floor(Date.now() / 1000)
  const readMetric = async (name: string) => {
    const text = await (await fetch(`${httpUrl}/metrics`)).text()
    return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1])
  }
  let sent = 0
  do {
    const publishes = Array.from({ length: 20 }, () => device.publishAsync('vital/w', JSON.stringify({
      timestamp: startedS, n: sent++
    }), { qos: 1 }))
    await Promise.all(publishes)
    await sleep(10)
  } while (await readMetric('vital_retention_removed_readings_total') < 7000)
  t.equal(await readMetric('vital_retention_dropped_partitions_total'), 4)
  t.equal(await readMetric('vital_retention_removed_readings_total'), 7000)
  t.same(await query('select count(*)::int, count(*) filter (where device = \'old\')::int as old from readings'), [{ count: sent, old: 0 }])
  t.match(await readLedger(httpUrl), { received: sent, stored: sent, deadLettered: 0, balance: 0 })
})
