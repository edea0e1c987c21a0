/**
 * The first connection to PostgreSQL. If PostgreSQL is away, the process starts nevertheless, and the connection is
 * retried each second; a gateway uses its spool meanwhile. A fault that waiting cannot correct ends the start. If such
 * a fault appears later, it ends the process.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { classifyError, toSqlState } from '../../db/sqlstate.ts'
import { ConfigError } from '../config/config-error.ts'
import { unlessAborted } from '../process/lifecycle.ts'

/** How long the start waits: a migration may take any time, and meanwhile readings go to the spool. */
const START_WAIT_MS = 5000
const RETRY_INTERVAL_MS = 1000
/** The same error is logged again after this time. */
const LOG_INTERVAL_MS = 60_000
/**
 * How long a stop waits for a migration that is given up and cancelled on the server. If it takes longer, the server
 * ends it at its next write to the closed connection.
 */
const GIVE_UP_MS = 2000

interface ConnectOptions {
  /** Makes the database ready for traffic; settles soon after `signal`. */
  readonly connect: () => Promise<void>
  /** Logged once, if the database is not ready at the start. */
  readonly told: string
  readonly signal: AbortSignal
  readonly logger: Logger
}

/**
 * @returns once PostgreSQL is ready for traffic, or is known to be away; the returned function waits until the attempts
 *   have ended
 * @throws a fault that waiting cannot correct; the signal's reason
 */
export async function connectWhenever (options: ConnectOptions): Promise<() => Promise<void>> {
  const { connect, told, signal, logger } = options
  const first = connect()
  const attempts = first.catch(async (error: unknown) => {
    signal.throwIfAborted()
    if (!isOutage(error)) throw explain(error)
    logger.error({ err: error }, told)
    await keepConnecting(options, error)
  })
  const stopped = async () => {
    await Promise.race([attempts.catch(() => {}), sleep(GIVE_UP_MS, undefined, { ref: false })])
  }
  const tried = Promise.race([first.catch((error: unknown) => isOutage(error)
    ? undefined
    : attempts), sleep(START_WAIT_MS, undefined, { ref: false })])
  try {
    await unlessAborted(tried, signal)
  } catch (error) {
    attempts.catch(() => {})
    if (signal.aborted) await stopped()
    throw error
  }
  // Thrown outside of the promise, so that it ends the process like any other permanent fault.
  attempts.catch((fault: unknown) => { if (!signal.aborted) setImmediate(() => { throw fault }) })
  return stopped
}

async function keepConnecting ({ connect, signal, logger }: ConnectOptions, first: unknown): Promise<void> {
  let told = messageOf(first)
  let toldAtMs = performance.now()
  for (;;) {
    await sleep(RETRY_INTERVAL_MS, undefined, { signal })
    try {
      await connect()
      return
    } catch (error) {
      if (signal.aborted || classifyError(error) !== 'retry') throw error
      // A refusal may pass, too: a server may start before its roles and databases are made.
      const message = messageOf(error)
      if (message === told && performance.now() - toldAtMs < LOG_INTERVAL_MS) continue
      told = message
      toldAtMs = performance.now()
      logger.error({ err: error }, 'PostgreSQL is not ready for the gateway; trying again each second')
    }
  }
}

function isOutage (error: unknown): boolean {
  return classifyError(error) === 'retry' && !isRefusal(error) && !isTlsFault(error)
}

/** Error codes of certificates: those of OpenSSL as Node.js names them, and those of Node.js itself. */
const TLS_CODES = /^(?:ERR_TLS_|ERR_SSL_|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|HOSTNAME_MISMATCH|INVALID_CA)/

function isTlsFault (error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const { code } = error as NodeJS.ErrnoException
  return error.message === 'The server does not support SSL connections' ||
    (typeof code === 'string' && TLS_CODES.test(code))
}

/** SQLSTATE classes 28, invalid_authorization, and 3D, invalid_catalog_name: at start that is a mistake in DATABASE_URL. */
const isRefusal = (error: unknown): boolean => /^(?:28|3D)/.test(toSqlState(error) ?? '')

function explain (error: unknown): unknown {
  if (isRefusal(error)) {
    return new ConfigError(`DATABASE_URL: PostgreSQL refuses the connection: ${messageOf(error)} (SQLSTATE ` +
      `${toSqlState(error)}). Correct the user, the password or the database in it, or make them at the server.`, { cause: error })
  }
  if (!isTlsFault(error)) return error
  return new ConfigError(`DATABASE_URL asks for TLS, and that fails: ${messageOf(error)}. Turn TLS on at the server ` +
    'and name the authority of its certificate (sslrootcert=FILE), or say sslmode=disable where the network itself ' +
    'is trusted.', { cause: error })
}

const messageOf = (error: unknown): string => error instanceof Error ? error.message : String(error)
