import { pino } from 'pino'
import t from 'tap'
import { migrate } from '../../db/migrate.ts'
import { createEmptyDatabase, createTestDatabase } from '../helpers/postgres.ts'

const logger = pino({ level: 'silent' })

const ALL = [
  '001-initial', '002-principals', '003-breath-rate', '004-merge-fields', '005-device-counts', '006-merge-late-fields', '007-plain-rates',
  '008-larger-values', '009-principal-changes', '010-rollups', '011-erasures', '012-sink-offsets', '013-log-erasures',
  '014-leader-epochs'
]

t.test('two gateways at once migrate a fresh database once', async (t) => {
  const { connectionString, query } = await createEmptyDatabase(t)
  const runs = await Promise.all([1, 2, 3].map(() => migrate({ connectionString, logger })))
  t.same(runs.flat(), ALL, 'one of them did the work')
  t.same(await migrate({ connectionString, logger }), [], 'and a later one found nothing to do')
  t.same(await query('select name from vital_migrations order by name'), ALL.map((name) => ({ name })))
})

t.test('a schema newer than the program is an error that says what to do', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  await query('insert into vital_migrations values (\'900-from-the-future\', \'\')')
  await t.rejects(migrate({ connectionString, logger }), {
    code: 'VITAL_SCHEMA_NEWER', message: /900-from-the-future.*Start the newer version/
  })
})

t.test('a migration that fails is rolled back whole, and says why', async (t) => {
  const { connectionString, query } = await createEmptyDatabase(t)
  await query('create table dead_letters (id int)')
  await t.rejects(migrate({ connectionString, logger }), {
    code: 'VITAL_MIGRATION_FAILED', message: /001-initial.*"dead_letters" already exists/
  })
  t.same(await query('select to_regclass(\'readings\') as readings'), [{ readings: null }])
  await query('drop table dead_letters')
  t.same(await migrate({ connectionString, logger }), ALL)
})

t.test('a database that cannot be reached rejects with the error of pg, so that the caller may wait', async (t) => {
  await t.rejects(migrate({ connectionString: 'postgres://vital:x@127.0.0.1:1/postgres', logger }), { code: 'ECONNREFUSED' })
})

t.test('updates of latest stay on their page', async (t) => {
  const { query } = await createTestDatabase(t)
  await query(`insert into latest (device, time, oldest_time, vitals, vital_times)
    select 'd' || i, now(), now(), '{"heartRateValue": 60}', '{"heartRateValue": 1}' from generate_series(1, 500) i`)
  const rows = await query(`
    with updated as (
      update latest set time = now(), vitals = '{"heartRateValue": 61}', vital_times = '{"heartRateValue": 2}' returning 1
    ), counted as materialized (select count(*)::int as updated from updated)
    select updated, pg_stat_get_xact_tuples_hot_updated('latest'::regclass)::int as hot from counted`)
  t.same(rows, [{ updated: 500, hot: 500 }])
})

t.test('every table and column has a comment', async (t) => {
  const { query } = await createTestDatabase(t)
  const bare = await query(`
    select a.attrelid::regclass::text as table, a.attname as column from pg_attribute a
    where a.attrelid in ('readings'::regclass, 'latest'::regclass, 'device_counts'::regclass, 'dead_letters'::regclass,
      'principals'::regclass, 'credentials'::regclass, 'audit_log'::regclass)
      and a.attnum > 0 and not a.attisdropped and col_description(a.attrelid, a.attnum) is null`)
  t.same(bare, [])
})
