import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Test } from 'tap'
import { freePort } from './free-port.ts'

/** Debian installs it in a directory that only root's PATH has. */
const ENV = { PATH: `${process.env['PATH']}:/usr/sbin` }

/** Why a test is left out; `false` where it runs. */
export const NO_PGBOUNCER = spawnSync('pgbouncer', ['--version'], { env: ENV }).status === 0
  ? false
  : 'pgbouncer is not installed (apt-get install pgbouncer)'

/** A PgBouncer in transaction mode before a database. @returns the connection string through it */
export async function startPgBouncer (t: Test, connectionString: string, poolSize: number): Promise<string> {
  const { hostname, port, pathname, username, password } = new URL(connectionString)
  const dir = await mkdtemp(join(tmpdir(), 'vital-gateway-pgbouncer-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  await chmod(dir, 0o755)
  const ownPort = await freePort()
  await writeFile(join(dir, 'pgbouncer.ini'), `
    [databases]
    pooled = host=${hostname} port=${port} dbname=${pathname.slice(1)} user=${username} password=${password}
    [pgbouncer]
    listen_addr = 127.0.0.1
    listen_port = ${ownPort}
    unix_socket_dir =
    auth_type = any
    pool_mode = transaction
    default_pool_size = ${poolSize}
    max_client_conn = 200
  `.replaceAll(/^ +/gm, ''))
  // It refuses to run as root.
  const account = process.getuid?.() === 0 ? ['-u', 'nobody'] : []
  const child = spawn('pgbouncer', ['-q', ...account, join(dir, 'pgbouncer.ini')], { env: ENV, stdio: 'ignore' })
  const exited = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exited
  })
  const url = `postgres://someone@127.0.0.1:${ownPort}/pooled`
  for (let attempt = 0; attempt < 200; attempt++) {
    const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2000 })
    client.on('error', () => {})
    try {
      await client.connect()
      await client.end()
      return url
    } catch {
      await sleep(50)
    }
  }
  throw new Error('PgBouncer does not answer')
}
