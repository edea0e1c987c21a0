import { mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { StorageError } from '../storage-error.ts'
import { chooseAccount } from './account.ts'
import { resolveBinaries } from './binaries.ts'
import { clusterDirOf, openCluster, replaceFile } from './cluster.ts'
import { lockOwner } from './owner-lock.ts'
import {
  adoptServer, type RunningServer, type ServerOptions, startServer, stopServer, toConnectionString
} from './postmaster.ts'
import { isServerProcess } from './server-process.ts'

export interface EmbeddedPostgres {
  /** Stays the same while the gateway runs, and from start to start unless the port was taken. Holds the password. */
  readonly connectionString: string
  /** Stops the server; connections that are still open are cut. May be called again. */
  stop (): Promise<void>
}

const WATCH_INTERVAL_MS = 250
const RESTART_DELAY_MIN_MS = 250
const RESTART_DELAY_MAX_MS = 10_000

/**
 * Runs a PostgreSQL of our own in `dataDir/postgres`, creating it at the first start.
 *
 * The server outlives a gateway that was killed; the next start takes it over. If the server dies while the gateway
 * runs, it is started again, on the same port.
 * @param options.signal - a stop: ends the wait. A server that was started by then is returned, to be stopped
 * @param options.dataDir - also gets `database-url` (mode 0600), for psql and Grafana
 * @returns once connections are accepted; crash recovery may take long, and is logged each 10 s
 * @throws `VITAL_EMBEDDED_UNSUPPORTED_PLATFORM`, `VITAL_EMBEDDED_ROOT_REFUSED`, `VITAL_EMBEDDED_DATA_DIR`,
 *   `VITAL_EMBEDDED_WRONG_VERSION`, `VITAL_EMBEDDED_INITDB_FAILED`, `VITAL_EMBEDDED_IN_USE`,
 *   `VITAL_EMBEDDED_START_FAILED`, `VITAL_EMBEDDED_STOP_FAILED`
 */
export async function startEmbeddedPostgres (
  options: { dataDir: string, signal?: AbortSignal, logger: Logger }
): Promise<EmbeddedPostgres> {
  const { logger, signal } = options
  const dataDir = resolve(options.dataDir)
  await createDataDir(dataDir)
  const unlock = await lockOwner({ path: join(dataDir, 'postgres-owner'), dataDir })
  try {
    const binaries = await resolveBinaries({ linksDir: join(dataDir, 'postgres-lib') })
    const { account, major } = await chooseAccount({ binaries, dataDir, clusterDir: clusterDirOf(dataDir), logger })
    const cluster = await openCluster({ dataDir, binaries, account, major, signal })
    signal?.throwIfAborted()
    const serverOptions = { binaries, account, startLogPath: join(dataDir, 'postgres-start.log'), logger }
    const server = await adoptServer(cluster, serverOptions, signal) ??
      await startServer(cluster, serverOptions, { mayMovePort: true, signal })
    logger.info({ pid: server.pid, port: server.cluster.port, account: account.kind },
      'embedded PostgreSQL accepts connections')

    const connectionString = toConnectionString(server.cluster)
    await replaceFile(join(dataDir, 'database-url'), `${connectionString}\n`)
    const guard = guardServer(server, serverOptions)
    let stopped: Promise<void> | undefined
    return {
      connectionString,
      stop () {
        stopped ??= guard.stop().finally(unlock)
        return stopped
      }
    }
  } catch (error) {
    await unlock()
    throw error
  }
}

/** A check that fails (no file descriptor is left) counts as running; the next check decides. */
async function runs ({ pid, cluster }: RunningServer): Promise<boolean> {
  return await isServerProcess(pid, cluster.dir).catch(() => true)
}

/** Starts the server again whenever it dies, until stopped. */
function guardServer (first: RunningServer, options: ServerOptions): { stop (): Promise<void> } {
  const { logger } = options
  const stopping = new AbortController()
  let server: RunningServer | null = first

  async function guard (running: RunningServer): Promise<void> {
    while (await pause(WATCH_INTERVAL_MS)) {
      if (await runs(running)) continue
      logger.error({ pid: running.pid }, 'the embedded PostgreSQL has ended unexpectedly; starting it again')
      server = null
      const restarted = await restart(running)
      if (restarted === null) return
      server = running = restarted
      logger.info({ pid: running.pid }, 'the embedded PostgreSQL runs again')
    }
  }

  async function restart ({ cluster }: RunningServer): Promise<RunningServer | null> {
    let delayMs = RESTART_DELAY_MIN_MS
    while (!stopping.signal.aborted) {
      try {
        // The pool holds the connection string, so the port stays.
        return await startServer(cluster, options, { mayMovePort: false, signal: stopping.signal })
      } catch (error) {
        logger.error({ err: error, retryInMs: delayMs }, 'the embedded PostgreSQL could not be started again')
      }
      await pause(delayMs)
      delayMs = Math.min(delayMs * 2, RESTART_DELAY_MAX_MS)
    }
    return null
  }

  /** @returns whether to go on */
  async function pause (ms: number): Promise<boolean> {
    // Unreferenced: the guard alone keeps no process alive.
    await sleep(ms, undefined, { signal: stopping.signal, ref: false }).catch((error: unknown) => {
      if (!stopping.signal.aborted) throw error
    })
    return !stopping.signal.aborted
  }

  const guarding = guard(first)
  return {
    async stop () {
      stopping.abort()
      await guarding
      if (server !== null) await stopServer(server, logger)
    }
  }
}

async function createDataDir (dataDir: string): Promise<void> {
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 })
  } catch (cause) {
    throw new StorageError('VITAL_EMBEDDED_DATA_DIR',
      `The data directory ${dataDir} cannot be created: ${(cause as Error).message}. Create it for the user that ` +
      'runs the gateway, or set VITAL_DATA_DIR to a directory that this user may write.', { cause })
  }
}
