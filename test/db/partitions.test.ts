import t, { type Test } from 'tap'
import { createDatabase } from '../../db/database.ts'
import { createPartitionsAhead } from '../../db/partitions.ts'
import { exactly } from '../helpers/exactly.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { logger } from '../helpers/embedded.ts'

const now = new Date('2026-11-23T12:00:00Z')

async function setUp (t: Test) {
  const { connectionString, query } = await createTestDatabase(t)
  const open = () => {
    const database = createDatabase({ connectionString, poolSize: 4, logger })
    t.teardown(() => database.close())
    return database
  }
  const insert = (time: string) => query('insert into readings values (\'d\', $1, gen_random_uuid(), \'{}\', now())', [time])
  return { open, query, insert }
}

t.test('the current and the coming months, across the year, once', async (t) => {
  const { open, query, insert } = await setUp(t)
  const database = open()
  const expected = ['readings_2026_11', 'readings_2026_12', 'readings_2027_01', 'readings_2027_02']
  t.same(await createPartitionsAhead({ database, now, logger }), { created: expected, warnings: [] })
  t.same(await createPartitionsAhead({ database, now, logger }), { created: [], warnings: [] })

  for (const time of [
    '2025-06-01', '2026-11-01 00:00:00+00', '2026-11-30 23:59:59.999999+00', '2026-12-01 00:00:00+00', '2027-03-01'
  ]) await insert(time)
  t.same(await query('select tableoid::regclass::text as partition, count(*)::int from readings group by 1 order by 1'), [
    { partition: 'readings_2026_11', count: 2 },
    { partition: 'readings_2026_12', count: 1 },
    { partition: 'readings_default', count: 2 }
  ])
  t.same(await query(`select indisprimary as primary, count(*)::int from pg_index
    join pg_class on pg_class.oid = indrelid where relname like 'readings\\_%' and indisvalid group by 1 order by 1`),
  [{ primary: false, count: 5 }, { primary: true, count: 5 }], 'each partition has the key and the range index, and no second one')
})

t.test('several gateways at once', async (t) => {
  const { open, query } = await setUp(t)
  const runs = await Promise.all([open(), open(), open()].map((database) => createPartitionsAhead({ database, now, logger })))
  t.equal(runs.flatMap((run) => run.created).length, 4)
  t.same(await query('select count(*)::int from pg_inherits where inhparent = \'readings\'::regclass'), [{ count: 5 }])
})

t.test('readings of a month that are in the default partition are left there, with a warning', async (t) => {
  const { open, query, insert } = await setUp(t)
  await insert('2026-12-24')
  const { created, warnings } = await createPartitionsAhead({ database: open(), now, logger })
  t.same(created, ['readings_2026_11', 'readings_2027_01', 'readings_2027_02'])
  t.match(warnings, exactly(/readings_default holds rows from 2026-12-01/))
  t.same(await query('select count(*)::int from readings where time >= \'2026-12-01\''), [{ count: 1 }])
  t.same(await query('select to_regclass(\'readings_2026_12\') as half_made'), [{ half_made: null }])
})

t.test('creating a partition does not wait for a long transaction, and blocks no insert', async (t) => {
  const { open, insert } = await setUp(t)
  const database = open()
  const client = await database.pool.connect()
  try {
    await client.query('begin')
    await client.query('lock table readings_default in access share mode')
    await t.rejects(createPartitionsAhead({ database, now, logger }), { code: '55P03' })
    await insert('2026-11-02')
  } finally {
    await client.query('rollback')
    client.release()
  }
})

t.test('a large default partition is not scanned while a statement waits', async (t) => {
  const { open, query } = await setUp(t)
  const database = open()
  const large = { database, now, logger, scannedBytesMax: 0 }
  // The partition needs rows, because an empty one has no size.
  await query('insert into readings select \'d\', timestamptz \'2025-01-01\' + n * interval \'1 s\', gen_random_uuid(), \'{}\', now() ' +
    'from generate_series(1, 20000) n')
  await query('insert into readings values (\'d\', \'2027-01-05\', gen_random_uuid(), \'{}\', now())')
  t.match(await createPartitionsAhead({ ...large, isStart: true }), {
    created: exactly(), warnings: exactly(/readings_2026_11 is not created: readings_default is large/)
  })

  const client = await database.pool.connect()
  try {
    await client.query('begin')
    await client.query('insert into readings values (\'d\', \'2025-06-01\', gen_random_uuid(), \'{}\', now())')
    await t.rejects(createPartitionsAhead(large), { code: '55P03' }, 'it does not wait for a writer')
  } finally {
    await client.query('rollback')
    client.release()
  }

  const { created, warnings } = await createPartitionsAhead(large)
  t.same(created, ['readings_2026_12', 'readings_2027_02'])
  t.match(warnings, exactly(/readings_2026_11/, /readings_default holds rows from 2027-01-01/))
  t.same(await query('select conname from pg_constraint where conrelid = \'readings_default\'::regclass and contype = \'c\''), [],
    'no check stays')
  t.same((await query('select count(*)::int from readings'))[0], { count: 20_001 })
})

t.test('ATTACH relies on the check constraint and reads nothing of a large default partition', async (t) => {
  const { open, query } = await setUp(t)
  await query('insert into readings select \'d\', timestamptz \'2025-01-01\' + n * interval \'1 s\', gen_random_uuid(), \'{}\', now() ' +
    'from generate_series(1, 20000) n')
  const scans = async () => (await query<{ scans: string }>('select seq_scan::text as scans from pg_stat_user_tables where relname = ' +
    '\'readings_default\''))[0]?.scans
  const database = open()
  const logged: string[] = []
  const [client] = [await database.pool.connect()]
  client.on('notice', ({ message }) => { logged.push(message ?? '') })
  await client.query('set client_min_messages = debug1')
  client.release()
  await createPartitionsAhead({ database, now, monthsAhead: 1, logger, scannedBytesMax: 0 })
  t.match(logged.join(), /updated partition constraint for default partition "readings_default" is implied by existing constraints/,
    `${await scans()} scans`)
})
