import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { pino } from 'pino'
import t from 'tap'
import { createDatabase } from '../../db/database.ts'
import { connectClient, startGateway } from '../helpers/gateway.ts'
import { NO_PGBOUNCER, startPgBouncer } from '../helpers/pgbouncer.ts'
import { createEmptyDatabase, createTestDatabase } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'

const READINGS = 400

t.test('a pooler in transaction mode: migrations, writes and reads work; settings hold in each transaction, ' +
  'and only there', { skip: NO_PGBOUNCER }, async (t) => {
  const { connectionString, query } = await createEmptyDatabase(t)
  const name = new URL(connectionString).pathname.slice(1)
  for (const setting of [
    'synchronous_commit = off', 'timezone = \'Asia/Tokyo\'', 'extra_float_digits = 0'
  ]) await query(`alter database ${name} set ${setting}`)
  // Fewer server connections than clients, so that each client meets all of them.
  const url = await startPgBouncer(t, connectionString, 4)
  const first = await startGateway(t, { DATABASE_URL: url })
  await query(`
    create table seen (name text, value text);
    create function note () returns trigger language plpgsql as $$ begin
      insert into seen select n, current_setting(n) from unnest(array['synchronous_commit', 'timezone', 'statement_timeout']) n;
      return new;
    end $$;
    create trigger note after insert on latest for each row execute function note()`)
  const second = await startGateway(t, { DATABASE_URL: url })
  const devices = await Promise.all([first, second].map(({ mqttPort }) => connectClient(t, mqttPort)))
  for (let round = 0; round < READINGS / 20; round++) {
    await Promise.all(Array.from({ length: 20 }, (_, index) => devices[index % 2]!.publishAsync(`vital/device-${(round * 20 + index) % 50}`,
      JSON.stringify({ timestamp: 1750240000.123456 + round * 20 + index, heartRateValue: 61.12345678901234 }), { qos: 1 })))
    t.equal((await fetch(`${(round % 2 === 0 ? first : second).httpUrl}/vital-data?count=100&sortBy=timestamp`)).status, 200)
  }
  // A redelivered batch is written with other statements.
  await devices[0]!.publishAsync('vital/device-0', JSON.stringify({
    timestamp: 1750240000.123456, heartRateValue: 61.12345678901234
  }), { qos: 1 })

  for (const { httpUrl } of [first, second]) {
    const { resources: [row] } = await (await fetch(`${httpUrl}/vital-data?sortBy=heartRate&count=1`)).json() as {
      resources: Array<{
        heartRate: number
        timestamp: number
      }>
    }
    t.equal(row?.heartRate, 61.12345678901234)
    t.equal(Math.round((row?.timestamp ?? 0) * 1e6) % 1e6, 123456)
    const metrics = await (await fetch(`${httpUrl}/metrics`)).text()
    t.match(metrics, /^vital_database_up 1$/m)
    t.match(metrics, /^vital_spool_replayed_readings_total 0$/m, 'nothing went to the spool')
  }
  t.same(await query('select count(*)::int as readings from readings'), [{ readings: READINGS }])
  t.same(await query('select distinct name, value from seen order by name'), [
    { name: 'statement_timeout', value: '3s' }, { name: 'synchronous_commit', value: 'on' }, { name: 'timezone', value: 'UTC' }
  ])
  // The upkeep of partitions and averages holds such a lock for a moment, also in other test files on the same server.
  await until(async () => (await query(`select from pg_locks join pg_database on oid = database
    where locktype = 'advisory' and datname = current_database()`)).length === 0, 'the lock of the migrations is gone')
  t.same(await query('select name from pg_prepared_statements'), [])

  const other = new pg.Client({ connectionString: url })
  await other.connect()
  for (let attempt = 0; attempt < 10; attempt++) {
    t.match((await other.query('select current_setting(\'synchronous_commit\') as sync, ' +
      'current_setting(\'statement_timeout\') as timeout')).rows, [{
      sync: 'off', timeout: '0'
    }])
  }
  await other.end()
})

t.test('queries through a pooler: parameters, transactions, errors', { skip: NO_PGBOUNCER }, async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const database = createDatabase({
    connectionString: await startPgBouncer(t, connectionString, 2), poolSize: 4, logger: pino({ level: 'silent' })
  })
  t.teardown(() => database.close())
  const { pool } = database
  t.match(await pool.query('select $1::int + 1 as sum', [41]), { rows: [{ sum: 42 }], rowCount: 1, command: 'SELECT' })
  t.match((await pool.query('select current_setting(\'timezone\') as zone')).rows, [{ zone: 'UTC' }])
  t.equal(database.isPooled, true)
  await t.rejects(pool.query('select 1 / 0'), { code: '22012' })
  const slow = { text: 'select pg_sleep(2)', query_timeout: 100 } as pg.QueryConfig
  await t.rejects(pool.query(slow), { message: 'Query read timeout' })
  const client = await pool.connect()
  await client.query('begin')
  t.match((await client.query('select current_setting(\'statement_timeout\') as timeout')).rows, [{ timeout: '3s' }])
  await client.query('set local statement_timeout = 500')
  t.match((await client.query('select current_setting(\'statement_timeout\') as timeout')).rows, [{ timeout: '500ms' }],
    'a setting of the transaction stays')
  await client.query('rollback')
  client.release()
  await Promise.all(Array.from({ length: 20 }, async (_, index) => t.same((await pool.query('select $1::int as index', [index])).rows,
    [{ index }])))
})

t.test('a query that waits for the pooler ends with the time-out for connecting, however long a ' +
  'statement may take', { skip: NO_PGBOUNCER }, async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const url = await startPgBouncer(t, connectionString, 1)
  const logger = pino({ level: 'silent' })
  const holder = createDatabase({ connectionString: url, poolSize: 1, logger })
  const patient = createDatabase({
    connectionString: url, poolSize: 1, logger, connectTimeoutMs: 300, statementTimeoutMs: 0, queryTimeoutMs: 30_000
  })
  t.teardown(() => Promise.all([holder.close(), patient.close()]))
  const client = await holder.pool.connect()
  await client.query('begin')
  const waiting = patient.pool.query('select 1').then(() => 'answered', (error: Error) => error.message)
  t.equal(await Promise.race([waiting, sleep(20_000, 'waits', { ref: false })]), 'Query read timeout')
  await client.query('rollback')
  client.release()
  t.match((await patient.pool.query('select 1 as one')).rows, [{ one: 1 }])
})

t.test('a direct connection keeps its settings, and does not count as a pooler', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const name = new URL(connectionString).pathname.slice(1)
  await query(`alter database ${name} set extra_float_digits = 0`)
  await query(`alter database ${name} set synchronous_commit = off`)
  const database = createDatabase({ connectionString, poolSize: 1, logger: pino({ level: 'silent' }) })
  t.teardown(() => database.close())
  t.match((await database.pool.query('select 0.1::float8 + 0.2::float8 as sum, current_setting(\'synchronous_commit\') as sync')).rows,
    [{ sum: 0.30000000000000004, sync: 'on' }])
  t.equal(database.isPooled, false)
})
