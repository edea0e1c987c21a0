import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Test } from 'tap'
import { identifyProcess } from '../../db/embedded/server-process.ts'
import { LOADER, ROOT, toProgram } from './program.ts'

/**
 * One embedded PostgreSQL serves all test files of a run, because initdb takes seconds. The first file that needs it
 * starts a keeper (postgres-keeper.ts), which migrates a template database and stops the server when the run ends, also when
 * it is killed. The run is the tap process, or the process of a test file that is run alone.
 */
const KEEPER_START_MAX_MS = 60_000
/** For the databases of the tests, and write-ahead log up to `max_wal_size`. */
const MEMORY_BYTES_MIN = 4 * 1024 ** 3
const CONNECTIONS_CLOSE_MAX_MS = 3_000

/** Why tests that need a direct connection to the server are skipped; `false` where they run. */
export const NOT_POOLED = process.env['VITAL_TEST_POOLER_URL'] === undefined ? false : 'a pooler stands before the server'

/** Written by the keeper when the template is ready. */
export interface KeptServer {
  readonly keeperPid: number
  readonly url: string
  readonly template: string
  /** Why there is no server. */
  readonly error?: string
}

export interface TestDatabase {
  readonly connectionString: string
  /** Runs a statement on a connection of its own, as superuser. */
  query<Row extends pg.QueryResultRow = Record<string, unknown>> (text: string, values?: unknown[]): Promise<Row[]>
}

/**
 * A migrated database of the test's own, with only the default partition. It is dropped when the test ends. The test fails if
 * a connection is still open then, so call this before anything that connects registers its teardown.
 */
export async function createTestDatabase (t: Test): Promise<TestDatabase> {
  return await create(t, (await useServer()).template)
}

/** The same, without a schema. */
export async function createEmptyDatabase (t: Test): Promise<TestDatabase> {
  return await create(t, 'template0')
}

async function create (t: Test, template: string): Promise<TestDatabase> {
  const { url } = await useServer()
  const name = `test_${randomBytes(6).toString('hex')}`
  await runQuery(url, `create database ${name} template ${template}`)
  const pooler = process.env['VITAL_TEST_POOLER_URL']
  t.teardown(async () => {
    // A pooler keeps its connections to the server.
    const leaked = pooler === undefined ? await waitForConnections(url, name) : []
    await runQuery(url, `drop database ${name} with (force)`)
    if (leaked.length > 0) throw new Error(`the test left ${leaked.length} database connections open: ${leaked.join(', ')}`)
  })
  const direct = Object.assign(new URL(url), { pathname: `/${name}` }).href
  const connectionString = pooler === undefined ? direct : Object.assign(new URL(pooler), { pathname: `/${name}` }).href
  return { connectionString, query: (text, values) => runQuery(direct, text, values) }
}

async function runQuery<Row extends pg.QueryResultRow> (url: string, text: string, values?: unknown[]): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url, application_name: 'test', connectionTimeoutMillis: 10_000 })
  await client.connect()
  try {
    return (await client.query<Row>(text, values)).rows
  } finally {
    await client.end()
  }
}

/** Backends end a moment after their sockets. @returns the application names of those that did not end in time */
async function waitForConnections (url: string, database: string): Promise<string[]> {
  const deadline = performance.now() + CONNECTIONS_CLOSE_MAX_MS
  while (true) {
    const rows = await runQuery<{ application_name: string }>(url,
      'select application_name from pg_stat_activity where datname = $1 and backend_type = \'client backend\'', [database])
    if (rows.length === 0 || performance.now() > deadline) return rows.map((row) => row.application_name)
    await sleep(20)
  }
}

let server: Promise<KeptServer> | undefined

function useServer (): Promise<KeptServer> {
  server ??= findServer()
  return server
}

async function findServer (): Promise<KeptServer> {
  const dir = await runDir(runPid())
  try {
    await mkdir(dir, { mode: 0o700 })
    startKeeper(dir)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  const deadline = performance.now() + KEEPER_START_MAX_MS
  while (true) {
    const kept = await readKept(dir)
    if (kept?.error !== undefined) throw new Error(`no PostgreSQL for the tests: ${kept.error}`)
    if (kept !== null) return kept
    if (performance.now() > deadline) throw new Error('no PostgreSQL for the tests: its keeper does not answer')
    await sleep(50)
  }
}

/** The process whose end is the end of the run. A test file on another Node.js is told its id by the process that started it. */
export function runPid (): number {
  const told = process.env['VITAL_TEST_RUN_PID']
  if (told !== undefined) return Number(told)
  return process.env['TAP'] === '1' ? process.ppid : process.pid
}

/** Where the server of this run keeps its files: the same for all processes of the run, and for no other run. */
export async function runDir (pid: number): Promise<string> {
  const runner = await identifyProcess(pid)
  if (runner === null) throw new Error('the test runner is gone')
  return join(await chooseRoot(), `vital-gateway-test-${runner.pid}-${runner.startedAt.replace(/\W+/g, '').slice(0, 24)}`)
}

/** A directory of the test's own, for a server of its own; removed when the test ends. */
export async function createTestDir (t: Test): Promise<string> {
  const dir = await mkdtemp(join(await chooseRoot(), 'vital-gateway-test-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  return dir
}

/** The memory file system where it has room, because the server runs with fsync on, as for users. */
async function chooseRoot (): Promise<string> {
  const { bavail, bsize } = await statfs('/dev/shm').catch(() => ({ bavail: 0, bsize: 0 }))
  return bavail * bsize > MEMORY_BYTES_MIN ? '/dev/shm' : tmpdir()
}

export async function readKept (dir: string): Promise<KeptServer | null> {
  try {
    return JSON.parse(await readFile(join(dir, 'kept.json'), 'utf8')) as KeptServer
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

function startKeeper (dir: string): void {
  // Detached: Ctrl-C ends the run, and the keeper then cleans up after it.
  spawn(process.execPath, [...LOADER, toProgram('test/helpers/postgres-keeper.ts'), String(runPid()), dir], {
    cwd: ROOT, detached: true, stdio: 'ignore'
  }).unref()
}
