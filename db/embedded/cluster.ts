import { spawn } from 'node:child_process'
import { randomBytes, randomInt } from 'node:crypto'
import { mkdir, mkdtemp, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { StorageError } from '../storage-error.ts'
import { type Account, giveTo, toCommand } from './account.ts'
import type { Binaries } from './binaries.ts'
import { HOST_RULES, toSettings } from './settings.ts'

/** The superuser of the embedded server, and its database. */
export const USER = 'vital'
export const DATABASE = 'postgres'

/** A cluster on disk. Its state file lies inside, so that both appear at once. */
export interface Cluster {
  readonly dir: string
  readonly password: string
  readonly port: number
}

const STATE_FILE = 'vital-gateway.json'
const NEW_PREFIX = 'postgres.new-'

export function clusterDirOf (dataDir: string): string {
  return join(dataDir, 'postgres')
}

interface ClusterOptions {
  readonly dataDir: string
  readonly binaries: Binaries
  readonly account: Account
  readonly major: number
  /** A stop: ends initdb. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Opens the cluster in `dataDir`, or creates it.
 * @throws `VITAL_EMBEDDED_WRONG_VERSION`, `VITAL_EMBEDDED_DATA_DIR`, `VITAL_EMBEDDED_INITDB_FAILED`
 */
export async function openCluster (options: ClusterOptions): Promise<Cluster> {
  const dir = clusterDirOf(options.dataDir)
  await removeUnfinished(options.dataDir)
  const version = await readVersion(dir)
  if (version === null) await createCluster(options, dir)
  else if (version !== options.major) {
    throw new StorageError('VITAL_EMBEDDED_WRONG_VERSION',
      `The data in ${dir} belongs to PostgreSQL ${version}, this program brings PostgreSQL ${options.major}. Start ` +
      `the version of the gateway that wrote it, dump it with pg_dump, move ${dir} away, start this version and ` +
      'restore the dump.')
  }
  const state = await readState(dir)
  await writeFile(join(dir, 'vital.conf'), toSettings(), { mode: 0o600 })
  await giveTo(options.account, join(dir, 'vital.conf'))
  return { dir, ...state }
}

/** Stores a port that had to be changed. */
export async function savePort (cluster: Cluster, port: number): Promise<Cluster> {
  const path = join(cluster.dir, STATE_FILE)
  await replaceFile(path, toState({ password: cluster.password, port }))
  return { ...cluster, port }
}

/** Writes a file whole or not at all, readable by its owner only. */
export async function replaceFile (path: string, text: string): Promise<void> {
  const temporary = `${path}.new`
  await rm(temporary, { force: true })
  const file = await open(temporary, 'wx', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(temporary, path)
}

/**
 * A free port. Below the range from which systems take the ports of outgoing connections, so that
 * it is likely to be free again at the next start.
 */
export async function findFreePort (): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const port = randomInt(15_432, 32_000)
    if (await isFree(port)) return port
  }
  throw new StorageError('VITAL_EMBEDDED_START_FAILED',
    'A hundred TCP ports of 127.0.0.1 between 15432 and 32000 were tried and none is free for the embedded ' +
    'PostgreSQL. Stop what holds them, or set DATABASE_URL to a PostgreSQL of your own.')
}

export async function isFree (port: number): Promise<boolean> {
  const server = createServer()
  return await new Promise((resolve) => {
    server.once('error', () => { resolve(false) })
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => { server.close(() => { resolve(true) }) })
  })
}

/** Removes the files of an initdb that was killed with its gateway. */
async function removeUnfinished (dataDir: string): Promise<void> {
  for (const name of await readdir(dataDir)) {
    if (name.startsWith(NEW_PREFIX)) {
      await rm(join(dataDir, name), { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
    }
  }
}

/** `null` where there is no cluster yet. */
async function readVersion (dir: string): Promise<number | null> {
  let entries: string[]
  try {
    entries = await readdir(dir)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw unusable(dir, error)
  }
  if (entries.length === 0) return null
  const text = await readFile(join(dir, 'PG_VERSION'), 'utf8').catch((error: unknown) => { throw unusable(dir, error) })
  return Number(text.trim())
}

function unusable (dir: string, cause: unknown): StorageError {
  return new StorageError('VITAL_EMBEDDED_DATA_DIR',
    `${dir} is there but holds no PostgreSQL data that can be read: ` +
    `${cause instanceof Error ? cause.message : String(cause)}. Restore it from a backup, or move it away to start ` +
    'with an empty database, or set VITAL_DATA_DIR to another directory.', { cause })
}

/**
 * Runs initdb beside the final place and then renames, so that a kill at any instant leaves a whole cluster or none.
 */
async function createCluster (options: ClusterOptions, dir: string): Promise<void> {
  const { dataDir, account } = options
  const parent = await mkdtemp(join(dataDir, NEW_PREFIX))
  try {
    const fresh = join(parent, 'cluster')
    const passwordFile = join(parent, 'password')
    // base64url: nothing in it needs escaping in a URL.
    const password = randomBytes(24).toString('base64url')
    await mkdir(fresh, { mode: 0o700 })
    await writeFile(passwordFile, password, { mode: 0o600 })
    await giveTo(account, parent)
    await runInitdb(options, fresh, passwordFile)

    await writeFile(join(fresh, 'pg_hba.conf'), HOST_RULES)
    await writeFile(join(fresh, 'postgresql.conf'), '\ninclude_if_exists = \'vital.conf\'\n', { flag: 'a' })
    await replaceFile(join(fresh, STATE_FILE), toState({ password, port: await findFreePort() }))
    await giveTo(account, join(fresh, STATE_FILE))
    await rename(fresh, dir)
    await syncDirectory(dataDir)
  } finally {
    await rm(parent, { recursive: true, force: true })
  }
}

async function runInitdb (
  { binaries, account, signal }: ClusterOptions, dir: string, passwordFile: string
): Promise<void> {
  const { file, args, options } = toCommand(account, binaries.initdb, [
    `--pgdata=${dir}`, `--username=${USER}`, `--pwfile=${passwordFile}`, '--auth=scram-sha-256', '--encoding=UTF8',
    // The same order of text on every machine, and no library whose upgrade could break an index.
    '--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--locale=C',
    '--data-checksums', '--no-instructions'
  ])
  signal?.throwIfAborted()
  const output: Buffer[] = []
  const child = spawn(file, args, {
    ...options, env: binaries.env, cwd: binaries.cwd, stdio: ['ignore', 'pipe', 'pipe']
  })
  child.stdout.on('data', (chunk: Buffer) => { output.push(chunk) })
  child.stderr.on('data', (chunk: Buffer) => { output.push(chunk) })
  const onAbort = () => { child.kill() }
  signal?.addEventListener('abort', onAbort, { once: true })
  const outcome = await new Promise<number | string>((resolve) => {
    child.once('error', (error) => { resolve(error.message) })
    child.once('close', (code, signal) => { resolve(code ?? String(signal)) })
  })
  signal?.removeEventListener('abort', onAbort)
  signal?.throwIfAborted()
  if (outcome === 0) return
  const tail = Buffer.concat(output).toString('utf8').trim().split('\n').slice(-5).join(' ')
  throw new StorageError('VITAL_EMBEDDED_INITDB_FAILED',
    `initdb could not create the embedded database in ${dir} (${outcome}): ${tail} ` +
    'Free disk space or correct what it names and start again, or set DATABASE_URL to a PostgreSQL of your own.')
}

function toState (state: { password: string, port: number }): string {
  return `${JSON.stringify(state)}\n`
}

async function readState (dir: string): Promise<{ password: string, port: number }> {
  const path = join(dir, STATE_FILE)
  let state: { password?: unknown, port?: unknown }
  try {
    state = JSON.parse(await readFile(path, 'utf8')) as typeof state
  } catch (error) {
    throw unusable(path, error)
  }
  const { password, port } = state
  if (typeof password !== 'string' || typeof port !== 'number') {
    throw unusable(path, new Error('it lacks the password or the port'))
  }
  return { password, port }
}

async function syncDirectory (path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
