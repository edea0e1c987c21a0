import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { sql } from 'kysely'
import t from 'tap'
import { createDatabase } from '../../db/database.ts'
import { readServerWarnings } from '../../db/server-settings.ts'
import { createConfig } from '../../src/config/config.ts'
import { createGateway } from '../../src/gateway.ts'
import { exactly } from '../helpers/exactly.ts'
import { createEmptyDatabase, createTestDatabase, createTestDir } from '../helpers/postgres.ts'
import { logger } from '../helpers/embedded.ts'

t.test('every session is durable, whatever the database and the connection string set', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  await query(`alter database ${new URL(connectionString).pathname.slice(1)} set synchronous_commit = off`)
  t.same(await query('show synchronous_commit'), [{ synchronous_commit: 'off' }])
  const database = createDatabase({ connectionString: `${connectionString}?options=-c%20synchronous_commit=off`, poolSize: 2, logger })
  t.teardown(() => database.close())
  const { rows } = await database.pool.query(`select name, setting from pg_settings where name in
    ('synchronous_commit', 'statement_timeout', 'idle_in_transaction_session_timeout', 'application_name', 'TimeZone')
    order by lower(name)`)
  t.same(rows, [
    { name: 'application_name', setting: 'vital-gateway' },
    { name: 'idle_in_transaction_session_timeout', setting: '10000' },
    { name: 'statement_timeout', setting: '3000' },
    { name: 'synchronous_commit', setting: 'on' },
    { name: 'TimeZone', setting: 'UTC' }
  ])
  t.same((await database.pool.query('select count(*) from readings')).rows, [{ count: 0 }], 'int8 is a number')
})

t.test('connections that are cut do not end the process, idle or checked out', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const database = createDatabase({ connectionString, poolSize: 2, logger })
  t.teardown(() => database.close())
  const cut = () => query('select pg_terminate_backend(pid) from pg_stat_activity where application_name = \'vital-gateway\' and ' +
    'datname = current_database()')
  await database.pool.query('select 1')
  await Promise.all([once(database.pool, 'error'), cut()])

  const client = await database.pool.connect()
  await Promise.all([new Promise((resolve) => client.once('end', resolve)), cut()])
  await t.rejects(client.query('select 1'))
  client.release()
  t.same((await database.pool.query('select 1 as one')).rows, [{ one: 1 }])
})

t.test('a connection whose query timed out is not used again', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const database = createDatabase({ connectionString, poolSize: 1, statementTimeoutMs: 0, queryTimeoutMs: 200, logger })
  t.teardown(() => database.close())
  await t.rejects(sql`select pg_sleep(2)`.execute(database.kysely), { message: 'Query read timeout' })
  const { rows } = await sql`select 1 as one`.execute(database.kysely)
  t.same(rows, [{ one: 1 }], 'the next query has a fresh one')
  await t.rejects(sql`select 1/0`.execute(database.kysely), { code: '22012' })
  t.equal(database.pool.totalCount, 1, 'an error of the server does not cost a connection')
})

t.test('the server cancels a statement that takes too long', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const database = createDatabase({ connectionString, poolSize: 1, statementTimeoutMs: 100, queryTimeoutMs: 5000, logger })
  t.teardown(() => database.close())
  await t.rejects(database.pool.query('select pg_sleep(2)'), { code: '57014' })
})

t.test('connecting to a server that accepts and never answers times out', async (t) => {
  const sockets: Socket[] = []
  const silent = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    silent.close()
  })
  const { port } = silent.address() as { port: number }
  const database = createDatabase({ connectionString: `postgres://u:p@127.0.0.1:${port}/d`, poolSize: 1, connectTimeoutMs: 200, logger })
  t.teardown(() => database.close())
  await t.rejects(database.pool.query('select 1'), /timeout/)
})

t.test('close may be called twice, and before the first query', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const database = createDatabase({ connectionString, poolSize: 1, logger })
  await Promise.all([database.close(), database.close()])
  await t.rejects(database.pool.query('select 1'))
})

t.test('a connection string that cannot be read is refused without showing the password', async (t) => {
  try {
    createDatabase({ connectionString: 'postgres://user:pass#secret@host:5432/db:x', poolSize: 1, logger })
    t.fail('should throw')
  } catch (error) {
    t.match(error, { code: 'VITAL_DATABASE_URL_INVALID', message: /percent-encoded/ })
    t.notMatch(JSON.stringify(error, Object.getOwnPropertyNames(error)), /secret/)
  }
})

t.test('a server whose settings weaken durability is warned of', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const database = createDatabase({ connectionString, poolSize: 1, logger })
  t.teardown(() => database.close())
  t.same(await readServerWarnings(database.pool), [])
  // fsync can only be changed for the whole server, which other tests use. So a table of our own replaces the view pg_settings.
  await query('create table pg_settings (name text, setting text)')
  const weakened = createDatabase({
    connectionString: `${connectionString}?options=-c%20search_path=public,pg_catalog`, poolSize: 1, logger
  })
  t.teardown(() => weakened.close())
  await query(`insert into public.pg_settings values ('server_version_num', '150004'), ('server_version', '15.4'),
    ('fsync', 'off'), ('full_page_writes', 'off'), ('server_encoding', 'UTF8')`)
  t.match(await readServerWarnings(weakened.pool), exactly(/fsync off/, /full_page_writes off/))
  await query('update public.pg_settings set setting = \'130011\' where name = \'server_version_num\'')
  await t.rejects(readServerWarnings(weakened.pool), { code: 'VITAL_DATABASE_TOO_OLD' })
})

t.test('a database that cannot hold every reading stops the start before anything is made in it', async (t) => {
  const { connectionString } = await createEmptyDatabase(t)
  for (const encoding of ['LATIN1', 'WIN1252', 'SQL_ASCII']) {
    const name = `test_${encoding.toLowerCase()}_${process.pid}`
    const admin = createDatabase({ connectionString, poolSize: 1, logger, statementTimeoutMs: 0, queryTimeoutMs: 0 })
    t.teardown(() => admin.close())
    // The builtin provider of the embedded server supports UTF8 alone. Servers before 15 have only libc.
    const { rows: [server] } = await admin.pool.query<{ version: number }>('select current_setting(\'server_version_num\')::int as version')
    const provider = server!.version < 150_000 ? '' : 'locale_provider libc'
    await admin.pool.query(`create database ${name} encoding '${encoding}' ${provider} locale 'C' template template0`)
    const config = createConfig({
      DATABASE_URL: Object.assign(new URL(connectionString), { pathname: `/${name}` }).href,
      VITAL_DATA_DIR: await createTestDir(t),
      VITAL_MQTT_PORT: '0',
      VITAL_HTTP_PORT: '0'
    })
    await t.rejects(createGateway({ config, logger }).start(), {
      code: 'VITAL_DATABASE_ENCODING', message: new RegExp(`encoded in ${encoding}`)
    })
    await admin.pool.query(`drop database ${name} with (force)`)
  }
})

t.test('migrations hold ASCII only, so that every encoding takes them', (t) => {
  for (const name of readdirSync(new URL('../../db/migrations', import.meta.url))) {
    t.notMatch(readFileSync(new URL(`../../db/migrations/${name}`, import.meta.url), 'utf8'), /[^ -~\n]/, name)
  }
  t.end()
})
