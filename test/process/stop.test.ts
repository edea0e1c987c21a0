import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import t from 'tap'
import { listServerProcesses } from '../../db/embedded/server-process.ts'
import { spawnGateway, takesSignal } from '../helpers/gateway-process.ts'
import { createEmptyDatabase, createTestDatabase, createTestDir } from '../helpers/postgres.ts'
import { createAuthority } from '../helpers/certificates.ts'

const SIGHUP = 1

t.test('SIGTERM while a migration waits for its lock: exit 0, nothing listens, and the server cancels the migration', async (t) => {
  const { connectionString, query } = await createEmptyDatabase(t)
  const holder = new pg.Client({ connectionString })
  await holder.connect()
  t.teardown(() => holder.end())
  await holder.query('select pg_advisory_lock(3853314791062309107)')
  const gateway = await spawnGateway(t, { DATABASE_URL: connectionString })
  const waiting = async () => await query('select from pg_stat_activity where wait_event = \'advisory\' and datname = current_database()')
  while ((await waiting()).length === 0) await sleep(20)
  gateway.child.kill('SIGTERM')
  t.same(await gateway.exited, [0, null])
  t.same((await waiting()).length, 0)
  await holder.query('select pg_advisory_unlock_all()')
  t.strictSame(gateway.lines.filter(({ msg }) => msg === 'listening' || msg === 'ready'), [])
  t.equal(gateway.lines.at(-1)?.msg, 'stopped')
})

t.test('SIGTERM while PostgreSQL does not answer stops with 0', async (t) => {
  const silent = createServer((socket) => { t.teardown(() => { socket.destroy() }) }).listen(0, '127.0.0.1')
  t.teardown(() => { silent.close() })
  await once(silent, 'listening')
  const { port } = silent.address() as AddressInfo
  const gateway = await spawnGateway(t, { DATABASE_URL: `postgres://vital@127.0.0.1:${port}/x` })
  await once(silent, 'connection')
  gateway.child.kill('SIGTERM')
  t.same(await gateway.exited, [0, null])
  t.strictSame(gateway.lines.filter(({ msg }) => msg === 'listening' || msg === 'ready'), [])
})

t.test('SIGTERM at any time of a first start with the embedded PostgreSQL: nothing is left behind', { timeout: 120_000 }, async (t) => {
  const dataDir = await createTestDir(t)
  for (const delayMs of [0, 300, 700, 1200, 2000, 3000]) {
    const gateway = await spawnGateway(t, { VITAL_DATA_DIR: dataDir })
    await takesSignal(gateway, SIGHUP)
    await sleep(delayMs)
    gateway.child.kill('SIGTERM')
    t.same(await gateway.exited, [0, null], `after ${delayMs} ms`)
    const names = await readdir(dataDir)
    t.strictSame(names.filter((name) => name.startsWith('postgres.new-') || name === 'postgres-owner'), [])
    t.strictSame(await listServerProcesses(`${dataDir}/postgres`).catch(() => []), [])
    const at = gateway.lines.findIndex(({ msg }) => msg === 'stopping')
    if (at >= 0) t.strictSame(gateway.lines.slice(at).filter(({ msg }) => msg === 'listening' || msg === 'ready'), [])
  }
  const last = await spawnGateway(t, { VITAL_DATA_DIR: dataDir })
  await last.said(/^ready$/)
  last.child.kill('SIGTERM')
  t.same(await last.exited, [0, null])
})

t.test('SIGHUP while the program is being loaded does not end it', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const { cert, key } = await (await createAuthority(t)).issueServer()
  const gateway = await spawnGateway(t, { DATABASE_URL: connectionString, VITAL_TLS_CERT_FILE: cert, VITAL_TLS_KEY_FILE: key })
  await takesSignal(gateway, SIGHUP)
  gateway.child.kill('SIGHUP')
  for (let count = 0; count < 20; count++) {
    await sleep(20)
    gateway.child.kill('SIGHUP')
  }
  await gateway.said(/^ready$/)
  t.match(await readFile(`/proc/${gateway.child.pid}/status`, 'utf8'), /^State/m)
  gateway.child.kill('SIGTERM')
  t.same(await gateway.exited, [0, null])
})
