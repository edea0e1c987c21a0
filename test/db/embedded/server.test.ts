import { once } from 'node:events'
import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import pg from 'pg'
import t from 'tap'
import { identifyProcess, listServerProcesses } from '../../../db/embedded/server-process.ts'
import { startEmbeddedPostgres } from '../../../db/embedded/server.ts'
import { until } from '../../helpers/until.ts'
import { createTestDir } from '../../helpers/postgres.ts'
import { clusterOf, endChild, logger, query, startChild, startServer, whyNoOtherUser } from '../../helpers/embedded.ts'

t.setTimeout(120_000)

const modeOf = async (path: string) => ((await stat(path)).mode & 0o777).toString(8)

t.test('the first start creates a private, durable cluster; the second finds it', async (t) => {
  // Longer than the path of a socket may be, and with characters that break search paths and shells.
  const dataDir = join(await createTestDir(t), 'a b:c', 'd'.repeat(120))
  const first = await startEmbeddedPostgres({ dataDir, logger })
  t.teardown(() => first.stop())
  const { connectionString: url } = first
  t.equal(await readFile(join(dataDir, 'database-url'), 'utf8'), `${url}\n`)
  t.equal(await modeOf(join(dataDir, 'database-url')), '600')
  t.equal(await modeOf(dataDir), '700')
  t.equal(await modeOf(clusterOf(dataDir)), '700')

  const settings = await query(url, `select name, setting from pg_settings where name in (
    'fsync', 'full_page_writes', 'synchronous_commit', 'data_checksums', 'server_encoding', 'listen_addresses', 'unix_socket_directories')`)
  t.same(Object.fromEntries(settings.map(({ name, setting }) => [name, setting])), {
    fsync: 'on',
    full_page_writes: 'on',
    synchronous_commit: 'on',
    data_checksums: 'on',
    server_encoding: 'UTF8',
    listen_addresses: '127.0.0.1',
    unix_socket_directories: ''
  })
  await t.rejects(query(Object.assign(new URL(url), { password: 'wrong' }).href, 'select 1'), { code: '28P01' })
  await t.rejects(startEmbeddedPostgres({ dataDir, logger }), {
    code: 'VITAL_EMBEDDED_IN_USE', message: new RegExp(`Process ${process.pid} `)
  })

  await query(url, 'create table kept as select 42 as answer')
  await t.rejects(query(url, 'select * from missing_table'))
  const idle = new pg.Client({ connectionString: url })
  idle.on('error', () => {})
  await idle.connect()
  await Promise.all([first.stop(), first.stop()])
  t.same(await listServerProcesses(clusterOf(dataDir)), [], 'stop cuts open connections and ends all processes')
  t.same((await readdir(dataDir)).filter((name) => name.includes('owner') || name.includes('.new')), [])
  for (const name of await readdir(join(clusterOf(dataDir), 'log'))) {
    t.notMatch(await readFile(join(clusterOf(dataDir), 'log', name), 'utf8'), /missing_table/, 'errors of sessions are not logged')
  }

  const second = await startServer(t, dataDir)
  t.equal(second.connectionString, url, 'the address is stable')
  t.same(await query(url, 'select answer from kept'), [{ answer: 42 }])
})

t.test('the port is kept unless it is taken', async (t) => {
  const dataDir = await createTestDir(t)
  const first = await startServer(t, dataDir)
  await first.stop()
  const port = Number(new URL(first.connectionString).port)
  const squatter = createServer().listen(port, '127.0.0.1')
  await once(squatter, 'listening')
  const second = await startServer(t, dataDir)
  t.not(Number(new URL(second.connectionString).port), port)
  t.equal(await readFile(join(dataDir, 'database-url'), 'utf8'), `${second.connectionString}\n`)
  t.same(await query(second.connectionString, 'select 1 as one'), [{ one: 1 }])
  await second.stop()
  squatter.close()
  await once(squatter, 'close')
  const third = await startServer(t, dataDir)
  t.equal(third.connectionString, second.connectionString, 'the new port is kept in turn')
})

t.test('a failed start says why', async (t) => {
  const dataDir = await createTestDir(t)
  const cluster = clusterOf(dataDir)
  await mkdir(cluster)
  await writeFile(join(cluster, 'notes.txt'), 'not a database')
  await t.rejects(startEmbeddedPostgres({ dataDir, logger }), {
    code: 'VITAL_EMBEDDED_DATA_DIR', message: /holds no PostgreSQL data.*move it away/
  })
  await writeFile(join(cluster, 'PG_VERSION'), '15\n')
  await t.rejects(startEmbeddedPostgres({ dataDir, logger }), {
    code: 'VITAL_EMBEDDED_WRONG_VERSION', message: /PostgreSQL 15.*PostgreSQL 18.*pg_dump/
  })
  await writeFile(join(cluster, 'PG_VERSION'), '18\n')
  await writeFile(join(cluster, 'vital-gateway.json'), '{"password":"x","port":29999}')
  await t.rejects(startEmbeddedPostgres({ dataDir, logger }), { code: 'VITAL_EMBEDDED_START_FAILED', message: /postgresql\.conf/ })
  await t.rejects(startEmbeddedPostgres({ dataDir: join(cluster, 'notes.txt', 'data'), logger }), { code: 'VITAL_EMBEDDED_DATA_DIR' })
  t.same((await readdir(dataDir)).filter((name) => name.includes('owner')), [], 'and gives the directory up')
})

for (const { name, uid, account } of [
  { name: 'an ordinary user', uid: 65_534, account: 'self' },
  { name: 'a user without a name', uid: 54_321, account: 'namespace' }
]) {
  t.test(`runs as ${name}`, { skip: whyNoOtherUser() }, async (t) => {
    const parent = await createTestDir(t)
    await chmod(parent, 0o777)
    const { child, started } = await startChild(t, join(parent, 'data'), { uid, gid: uid })
    t.match(started, { account })
    t.same(await query(started.url, 'select 1 as one'), [{ one: 1 }])
    await endChild(child)
    // In a namespace the launcher may be gone a moment before the postmaster.
    await until(async () => await identifyProcess(started.pid) === null, 'the postmaster to end')
  })
}
