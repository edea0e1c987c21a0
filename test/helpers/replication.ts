import { execFile, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, chown, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { once } from 'node:events'
import { promisify } from 'node:util'
import pg from 'pg'
import type { Test } from 'tap'
import { freePort } from './free-port.ts'
import { createTestDir } from './postgres.ts'
import { until } from './until.ts'

/** The binaries of Debian, because the embedded ones have no pg_basebackup. */
export const BIN = ['15', '16', '17', '18'].map((version) => `/usr/lib/postgresql/${version}/bin`).find((path) => existsSync(path)) ?? ''

/** Why a test is left out; `false` where it runs. */
export const NO_REPLICATION = BIN === '' ? 'PostgreSQL with pg_basebackup is not installed (apt-get install postgresql)' : false

/** As root, servers run as the account `nobody`, because PostgreSQL refuses to run as root. */
export const ACCOUNT = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {}

const run = async (program: string, args: readonly string[]) => {
  await promisify(execFile)(join(BIN, program), args, { ...ACCOUNT, cwd: '/' })
}

interface Server {
  readonly url: string
  readonly port: number
  /** Of its data. */
  readonly dir: string
  query<Row extends pg.QueryResultRow> (text: string): Promise<Row[]>
  stop (): Promise<void>
}

/** Runs each statement on a connection of its own. */
export function createQuery (url: string): Server['query'] {
  return async <Row extends pg.QueryResultRow>(text: string) => {
    const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2000 })
    client.on('error', () => {})
    await client.connect()
    try {
      return (await client.query<Row>(text)).rows
    } finally {
      await client.end()
    }
  }
}

/** Starts a server on a data directory. Settles when it answers. */
async function startServer (t: Test, dir: string): Promise<Server> {
  const port = await freePort()
  const options = [`port=${port}`, 'listen_addresses=127.0.0.1', 'unix_socket_directories=', 'hot_standby=on',
    'wal_level=replica', 'shared_buffers=16MB', 'max_connections=40']
  const child = spawn(join(BIN, 'postgres'), ['-D', dir, ...options.flatMap((option) => ['-c', option])], {
    ...ACCOUNT, cwd: '/', stdio: 'ignore'
  })
  const exited = once(child, 'exit')
  const stop = async () => {
    child.kill('SIGQUIT')
    await exited
  }
  t.teardown(stop)
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`
  const query = createQuery(url)
  await until(async () => (await query('select 1')).length === 1, 'PostgreSQL to answer')
  return { url, port, dir, query, stop }
}

/** A directory that belongs to the account of the servers. */
async function createOwnDir (dir: string): Promise<string> {
  await mkdir(dir)
  if (ACCOUNT.uid !== undefined) await chown(dir, ACCOUNT.uid, ACCOUNT.gid!)
  await chmod(dir, 0o700)
  return dir
}

interface PrimaryOptions {
  /** Replaces the pg_hba.conf of initdb, which trusts this machine. */
  readonly hba?: string
  /** The password of the superuser `postgres`. */
  readonly password?: string
}

/** An empty server, as a user starts it. The account of the servers may create further directories in `base`. */
export async function startPrimary (t: Test, { hba, password }: PrimaryOptions = {}): Promise<Server & { readonly base: string }> {
  const base = await createOwnDir(join(await createTestDir(t), 'servers'))
  await chmod(join(base, '..'), 0o755)
  const dir = await createOwnDir(join(base, 'primary'))
  await run('initdb', ['-D', dir, '-U', 'postgres', '-A', 'trust', '-N', '--no-locale', '-E', 'UTF8'])
  const server = await startServer(t, dir)
  if (password !== undefined) await server.query(`alter role postgres password '${password}'`)
  if (hba === undefined) return { ...server, base }
  await writeFile(join(dir, 'pg_hba.conf'), `${hba}\n`)
  await server.query('select pg_reload_conf()')
  const url = `postgres://postgres:${password}@127.0.0.1:${server.port}/postgres`
  return { ...server, url, query: createQuery(url), base }
}

/** A primary and a streaming replica of it, empty, as a user starts them; stopped with the test. */
export async function startReplication (t: Test): Promise<{ readonly primary: Server, readonly replica: Server }> {
  const { base, ...primary } = await startPrimary(t)
  const dir = await createOwnDir(join(base, 'replica'))
  await run('pg_basebackup', ['-h', '127.0.0.1', '-p', String(primary.port), '-U', 'postgres', '-D', dir, '-R', '-X', 'stream',
    '-C', '-S', 'replica_1', '--checkpoint=fast', '--no-sync'])
  return { primary, replica: await startServer(t, dir) }
}
