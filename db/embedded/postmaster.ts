import { spawn } from 'node:child_process'
import { open, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Logger } from 'pino'
import { toSqlState } from '../sqlstate.ts'
import { StorageError } from '../storage-error.ts'
import { type Account, toCommand } from './account.ts'
import type { Binaries } from './binaries.ts'
import { type Cluster, DATABASE, findFreePort, isFree, savePort, USER } from './cluster.ts'
import { isServerProcess, listServerProcesses, readPostmasterPid, signal, waitForExit } from './server-process.ts'

export interface ServerOptions {
  readonly binaries: Binaries
  readonly account: Account
  /** Output of the server before its own log files are open. */
  readonly startLogPath: string
  readonly logger: Logger
}

/** A postmaster that answers. */
export interface RunningServer {
  readonly pid: number
  readonly cluster: Cluster
}

/** A server that was left behind and is silent for this long is hung: a server in recovery answers that it starts. */
const ORPHAN_SILENT_MAX_MS = 6_000
/**
 * Backends of a killed postmaster notice at their next wait; until then the new one finds their shared memory in use.
 */
const BACKENDS_GONE_MAX_MS = 20_000
const FAST_SHUTDOWN_MAX_MS = 30_000
const IMMEDIATE_SHUTDOWN_MAX_MS = 5_000
const PROGRESS_INTERVAL_MS = 10_000

/** Above the largest process id of Linux (2^22) and macOS. */
const IMPOSSIBLE_PID = 2_147_483_646

export function toConnectionString ({ password, port }: { password: string, port: number }): string {
  return `postgres://${USER}:${password}@127.0.0.1:${port}/${DATABASE}`
}

/**
 * Takes over the postmaster that a killed gateway left behind, if it answers; if it does not, stops it.
 * @param signal - ends the wait: the postmaster is returned although it does not answer yet
 * @returns `null` when none runs and a new one can start
 */
export async function adoptServer (
  cluster: Cluster, { logger }: ServerOptions, signal?: AbortSignal
): Promise<RunningServer | null> {
  const pid = await readPostmasterPid(cluster.dir)
  if (pid === null) return null
  if (!await isServerProcess(pid, cluster.dir)) {
    await retirePidFile(cluster.dir, logger)
    return null
  }
  logger.info({ pid }, 'PostgreSQL of an earlier run is still running; using it')
  let silentSince = performance.now()
  const progress = createProgress(logger)
  while (await isServerProcess(pid, cluster.dir)) {
    const answer = await ping(cluster)
    if (answer === 'ready' || signal?.aborted === true) return { pid, cluster }
    if (answer === 'starting') silentSince = performance.now()
    else if (performance.now() - silentSince > ORPHAN_SILENT_MAX_MS) {
      logger.warn({ pid }, 'PostgreSQL of an earlier run does not answer; stopping it')
      await killServer(pid, cluster.dir)
      return null
    }
    progress()
    await sleep(100)
  }
  return null
}

/**
 * Starts a postmaster and waits until it accepts connections, however long its crash recovery takes.
 * @param how.mayMovePort - whether another port may be taken when the cluster's is not free
 * @param how.signal - ends the wait: the postmaster is returned although it does not answer yet
 * @throws `VITAL_EMBEDDED_START_FAILED`
 */
export async function startServer (
  cluster: Cluster, options: ServerOptions, how: { mayMovePort: boolean, signal?: AbortSignal | undefined }
): Promise<RunningServer> {
  const { logger } = options
  const { mayMovePort, signal } = how
  const givesUpAt = performance.now() + BACKENDS_GONE_MAX_MS
  while (true) {
    if (mayMovePort && !await isFree(cluster.port)) {
      const port = await findFreePort()
      logger.warn({ port, taken: cluster.port },
        'the port of the embedded PostgreSQL is taken; it uses another. Correct the programs that connect to it')
      cluster = await savePort(cluster, port)
    }
    const outcome = await launch(cluster, options, signal)
    if (typeof outcome === 'number') return { pid: outcome, cluster }
    // Another program may have taken the port between our check and the server's own.
    const passes = /shared memory block|lock file "postmaster.pid" already exists/.test(outcome) ||
      (mayMovePort && /could not create any TCP\/IP sockets|Address already in use/.test(outcome))
    if (!passes || signal?.aborted === true || performance.now() > givesUpAt) {
      throw startFailed(cluster, options, outcome)
    }
    logger.debug({ output: outcome }, 'PostgreSQL did not start; trying again')
    await sleep(500)
    await retirePidFile(cluster.dir, logger)
  }
}

/** Fast shutdown, then immediate, then by force. @throws `VITAL_EMBEDDED_STOP_FAILED` */
export async function stopServer ({ pid, cluster }: RunningServer, logger: Logger): Promise<void> {
  if (!await isServerProcess(pid, cluster.dir)) return
  signal(pid, 'SIGINT')
  if (await waitForExit(pid, cluster.dir, FAST_SHUTDOWN_MAX_MS)) return
  logger.warn({ pid }, 'PostgreSQL did not stop in time; stopping it without a checkpoint')
  await killServer(pid, cluster.dir)
}

async function killServer (pid: number, dir: string): Promise<void> {
  signal(pid, 'SIGQUIT')
  if (await waitForExit(pid, dir, IMMEDIATE_SHUTDOWN_MAX_MS)) return
  // Frozen processes take no other signal. Backends of a killed postmaster that stay frozen would hold its memory.
  const backends = await listServerProcesses(dir)
  for (const each of new Set([pid, ...backends])) if (await isServerProcess(each, dir)) signal(each, 'SIGKILL')
  if (await waitForExit(pid, dir, IMMEDIATE_SHUTDOWN_MAX_MS)) return
  throw new StorageError('VITAL_EMBEDDED_STOP_FAILED',
    `The embedded PostgreSQL in ${dir} (process ${pid}) does not end even when killed; the system holds it, most ` +
    'likely for a disk that does not answer. Look at the disk; its data is safe to start from.')
}

/** @returns the postmaster's process id, or what it wrote before it ended */
async function launch (
  cluster: Cluster, options: ServerOptions, signal: AbortSignal | undefined
): Promise<number | string> {
  const { binaries, account, startLogPath, logger } = options
  const log = await open(startLogPath, 'w', 0o600)
  const state: { ended?: string, pid?: number | undefined } = {}
  try {
    const command = toCommand(account, binaries.postgres, ['-D', cluster.dir, '-p', String(cluster.port)])
    // Detached, in a session of its own: otherwise Ctrl-C would end it before the gateway has drained.
    const child = spawn(command.file, command.args, {
      ...command.options, env: binaries.env, cwd: binaries.cwd, detached: true, stdio: ['ignore', log.fd, log.fd]
    })
    child.once('error', (error) => { state.ended = error.message })
    child.once('exit', (code, by) => { state.ended ??= `ended with ${code ?? by}` })
    child.unref()
    state.pid = child.pid
  } finally {
    await log.close()
  }
  const progress = createProgress(logger)
  while (state.ended === undefined) {
    // Another server may answer on the port while ours has not bound it yet.
    if (state.pid !== undefined && await readPostmasterPid(cluster.dir) === state.pid) {
      if (signal?.aborted === true || await ping(cluster) === 'ready') return state.pid
    }
    progress()
    await sleep(50)
  }
  const output = await readFile(startLogPath, 'utf8')
  return `${state.ended}: ${output.trim()}`
}

/** Asks the server as a client would, so a postmaster that accepts and never answers counts as silent. */
async function ping (cluster: Cluster): Promise<'ready' | 'starting' | 'silent'> {
  const client = new pg.Client({
    connectionString: toConnectionString(cluster), connectionTimeoutMillis: 2000, query_timeout: 2000, application_name: 'vital-gateway'
  })
  client.on('error', () => { /* The promises below reject with it. */ })
  try {
    await client.connect()
    // Each batch with a redelivered reading is an ERROR in the server's log, so a device that resends for ever would
    // fill the log. The gateway handles the errors of its own sessions.
    await client.query(`do $$ begin
      if not exists (select from pg_db_role_setting s join pg_roles r on r.oid = s.setrole
                     where r.rolname = '${USER}' and s.setdatabase = 0) then
        alter role ${USER} set log_min_messages = 'log';
      end if;
    end $$`)
    return 'ready'
  } catch (error) {
    switch (toSqlState(error)) {
      case null: return 'silent'
      case '53300': return 'ready' // too_many_connections
      case '57P03': return 'starting' // cannot_connect_now: it starts, recovers or shuts down
      case '57P01': return 'starting' // admin_shutdown
      default: throw new StorageError('VITAL_EMBEDDED_START_FAILED',
        `The embedded PostgreSQL in ${cluster.dir} runs, but does not let the gateway in: ` +
        `${(error as Error).message}. If its password was changed, write the new one into ` +
        `${join(cluster.dir, 'vital-gateway.json')}.`, { cause: error })
    }
  } finally {
    await client.end().catch(() => { /* Lost already. */ })
  }
}

/**
 * PostgreSQL copes with a pid file whose process is gone: it checks for leftover backends and goes on. It refuses to
 * start only where another process has that id now. So an impossible id replaces it. The file itself stays, because its
 * other lines lead PostgreSQL to the shared memory of those backends.
 */
async function retirePidFile (dir: string, logger: Logger): Promise<void> {
  const pid = await readPostmasterPid(dir)
  if (pid === null || pid === IMPOSSIBLE_PID || await isServerProcess(pid, dir)) return
  const path = join(dir, 'postmaster.pid')
  const lines = (await readFile(path, 'utf8')).split('\n')
  await writeFile(path, [String(IMPOSSIBLE_PID), ...lines.slice(1)].join('\n'))
  logger.info({ pid }, 'PostgreSQL was not shut down the last time; it recovers now')
}

function createProgress (logger: Logger): () => void {
  const startedAt = performance.now()
  let nextAt = startedAt + PROGRESS_INTERVAL_MS
  return () => {
    const now = performance.now()
    if (now < nextAt) return
    nextAt = now + PROGRESS_INTERVAL_MS
    logger.info({ waitedS: Math.round((now - startedAt) / 1000) },
      'waiting for PostgreSQL, which recovers from a crash')
  }
}

function startFailed (cluster: Cluster, options: ServerOptions, output: string): StorageError {
  return new StorageError('VITAL_EMBEDDED_START_FAILED',
    `The embedded PostgreSQL in ${cluster.dir} did not start: ${output.split('\n').slice(0, 10).join(' ')} See ` +
    `${options.startLogPath} and ${join(cluster.dir, 'log')}; correct what they name and start again, or set ` +
    'DATABASE_URL to a PostgreSQL of your own.')
}
