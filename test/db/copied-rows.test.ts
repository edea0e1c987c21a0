/** Rows of `latest` with versions, which order the changes of a device by all writers. */
import pg from 'pg'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { createDatabase } from '../../db/database.ts'
import { lockCopiedRows, selectBusyBackends, selectCopyOrigin, selectCopiedRows } from '../../db/queries/copied-rows.ts'
import { createStore, type LatestCopy } from '../../db/store.ts'
import type { VersionedRow } from '../../db/queries/copied-rows.ts'
import { toRowAt } from '../../src/ingest/reading-row.ts'
import { exactly } from '../helpers/exactly.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'

async function start (t: Test) {
  const { connectionString, query } = await createTestDatabase(t)
  const logger = pino({ level: 'silent' })
  const database = createDatabase({ connectionString, poolSize: 4, logger, applicationName: 'vital-gateway test:1' })
  t.teardown(() => database.close())
  const written: VersionedRow[][] = []
  const givenUp: boolean[] = []
  const copy: LatestCopy = {
    begin: async () => ({
      apply: async (rows) => { written.push([...rows]) },
      giveUp: (isDecided) => { givenUp.push(isDecided) }
    })
  }
  const store = createStore({ ...database, copy })
  const write = (device: string, timeUs: number, fields: Record<string, unknown> = {}) =>
    store.write([toRowAt(timeUs, fields, device, Date.now())], [])
  const client = new pg.Client({ connectionString })
  await client.connect()
  t.teardown(() => client.end())
  return { database, query, write, written, givenUp, client }
}

t.test('rows that a batch returns are those that are read: small, large, and with missing fields', async (t) => {
  const { database: { kysely }, write, written } = await start(t)
  await write('a', 1_750_000_000_123_456, { heartRateValue: -0, note: 'a\nb\tc "é' })
  await write('b', 0)
  await write('c', 5, { breathRateValue: 1e-7, large: 'x'.repeat(3000) })
  const rows = written.flat()
  t.strictSame(rows.map(({ version: _, ...row }) => row), await selectCopiedRows(kysely, '', 10))
  t.match(rows, exactly({ time: '1750000000123456', heart: '-0', breath: '' }, { heart: '', breath: '', rest: '{}\n{}' }, { rest: '\n' }))
  t.equal(rows[0]?.rest.split('\n').length, 2, 'one line break')
})

t.test('versions grow with each change of a device, over its erasure too', async (t) => {
  const { database: { kysely }, query, write, written } = await start(t)
  const versions: number[] = []
  const lock = async () => {
    const { rows, absent } = await lockCopiedRows(kysely, ['a'])
    versions.push(Number((rows[0] ?? absent[0])?.version))
  }
  for (let round = 1; round < 5; round++) {
    await write('a', round)
    versions.push(Number(written.at(-1)?.[0]?.version))
    await lock()
    await query('delete from latest')
    await lock()
  }
  t.strictSame(versions, versions.toSorted((a, b) => a - b))
  t.equal(new Set(versions).size, versions.length)
  t.ok((await selectCopyOrigin(kysely)).version > versions.at(-1)!, 'no version is behind the end of the log')
  t.equal((await query('select * from latest')).length, 0, 'rows that were inserted as locks are rolled back')
  t.strictSame(await query('select sum(devices)::int as devices from device_counts'), [{ devices: 0 }])
})

t.test('a lock does not wait for rows that others are writing', async (t) => {
  const { database: { kysely }, write, client } = await start(t)
  await write('a', 1)
  await write('b', 1)
  await client.query('begin')
  await client.query('update latest set heart_rate = 1 where device = \'a\'')
  const { rows, absent, busy } = await lockCopiedRows(kysely, ['a', 'b', 'c'])
  t.strictSame([rows.map(({ device }) => device), absent.map(({ device }) => device), busy], [['b'], ['c'], ['a']])
  await client.query('insert into latest values (\'c\', now(), now(), \'{}\', \'{}\')')
  await t.rejects(lockCopiedRows(kysely, ['c']), { code: '55P03' }, 'a row that is just being inserted')
  await client.query('rollback')
  t.strictSame((await lockCopiedRows(kysely, ['c'])).absent.map(({ device }) => device), ['c'])
})

t.test('a batch that fails is given up; its outcome is known only where PostgreSQL answered', async (t) => {
  const { write, givenUp, query, client } = await start(t)
  await query('alter table latest add constraint none check (device <> \'refused\')')
  await t.rejects(write('refused', 1))
  t.strictSame(givenUp, [true])
  await query('alter table latest drop constraint none')
  const waiting = `select pid from pg_stat_activity where application_name = 'vital-gateway test:1' and wait_event_type = 'Lock'
    and datname = current_database()`
  await client.query('begin; lock table latest in exclusive mode')
  const rejected = t.rejects(write('a', 1))
  await until(async () => (await query(waiting)).length === 1, 'the write to wait')
  await query(`select pg_terminate_backend(pid) from (${waiting}) as waiting`)
  await rejected
  t.strictSame(givenUp, [true, false])
  await client.query('rollback')
})

t.test('processes of the server that still work for a gateway are found', async (t) => {
  const { database: { kysely }, client } = await start(t)
  const { rows: [own] } = await client.query<{ pid: number }>('select pg_backend_pid() as pid, set_config(\'application_name\', ' +
    '\'g\', false)')
  t.strictSame(await selectBusyBackends(kysely, 'g', [own!.pid, 0]), new Set(), 'idle')
  await client.query('begin')
  t.strictSame(await selectBusyBackends(kysely, 'g', [own!.pid]), new Set([own!.pid]))
  t.strictSame(await selectBusyBackends(kysely, 'other', [own!.pid]), new Set())
  await client.query('rollback')
})
