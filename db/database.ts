import { Kysely, PostgresAdapter, PostgresDialect, type PostgresPool, type PostgresPoolClient } from 'kysely'
import pg from 'pg'
import type { Logger } from 'pino'
import { openSession } from './session.ts'
import { StorageError } from './storage-error.ts'
import type { Tables } from './tables.ts'

/** Settings of {@link createDatabase}. A timeout of 0 means none. */
export interface DatabaseOptions {
  readonly connectionString: string
  /** Connections at most. */
  readonly poolSize: number
  readonly logger: Logger
  /**
   * Waiting for a free or a new connection. Short: while the database is away, batches wait this long before the spool.
   */
  readonly connectTimeoutMs?: number
  /** The server cancels a statement after this time. */
  readonly statementTimeoutMs?: number
  /** We give up on a statement after this time; more than `statementTimeoutMs`: it means that the server hangs. */
  readonly queryTimeoutMs?: number
  /** The server ends a session that sits in an open transaction, holding its locks. */
  readonly idleInTransactionTimeoutMs?: number
  readonly applicationName?: string
}

export interface Database {
  /**
   * For pipelines. The caller that checks a client out gives it back, with `release(true)` after a timeout or a lost
   * connection.
   */
  readonly pool: pg.Pool
  /** On the same pool. */
  readonly kysely: Kysely<Tables>
  /** Whether a pooler before the server was seen on any connection so far. */
  readonly isPooled: boolean
  /** Waits for the clients that are checked out, then closes all connections. May be called again. */
  close (): Promise<void>
}

const TYPES: pg.CustomTypesConfig = {
  // pg gives an int8, such as count(*), as text, because 2^63 does not fit a number. Our values fit.
  getTypeParser: ((oid: number, format: 'text' | 'binary') => oid === pg.types.builtins.INT8 && format !== 'binary'
    ? Number
    : pg.types.getTypeParser(oid, format)) as typeof pg.types.getTypeParser
}

/** Kysely's own lock of migrations belongs to a session, which a pooler does not keep; see `migrate.ts`. */
class Adapter extends PostgresAdapter {
  override async acquireMigrationLock (): Promise<void> {}
  override async releaseMigrationLock (): Promise<void> {}
}

class Dialect extends PostgresDialect {
  override createAdapter (): PostgresAdapter {
    return new Adapter()
  }
}

/**
 * One pool of connections for Kysely and the pipelines of the store. Connects when first used, so it can be created
 * while the database is away.
 * @throws `VITAL_DATABASE_URL_INVALID`
 */
export function createDatabase (options: DatabaseOptions): Database {
  const { connectionString, poolSize, logger } = options
  const statementTimeoutMs = options.statementTimeoutMs ?? 3000
  const connectTimeoutMs = options.connectTimeoutMs ?? 2000
  const config: pg.PoolConfig = {
    connectionString,
    max: poolSize,
    connectionTimeoutMillis: connectTimeoutMs,
    query_timeout: options.queryTimeoutMs ?? 4000,
    idleTimeoutMillis: 60_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    application_name: options.applicationName ?? 'vital-gateway',
    types: TYPES
  }
  checkConnectionString(config)

  const timeouts = {
    connectTimeoutMs, statementTimeoutMs, idleInTransactionTimeoutMs: options.idleInTransactionTimeoutMs ?? 10_000
  }
  let isPooled = false
  const open = async (client: pg.ClientBase) => {
    if (!await openSession(client, timeouts) || isPooled) return
    isPooled = true
    logger.info('connected through a pooler: settings are sent with each transaction, and no statement is prepared')
  }
  // The pool awaits the promise, though its types say void.
  config.onConnect = open as (client: pg.ClientBase) => void

  const pool = new pg.Pool(config)
  pool.on('error', (error) => {
    // pg attaches the whole client to the error, so only its message is logged.
    logger.warn({ reason: error.message, code: (error as { code?: string }).code },
      'an idle database connection was lost')
  })
  pool.on('connect', (client) => {
    // Without a listener the loss of a client that is checked out would end the process. Its query rejects with the
    // same error, and its caller handles that.
    client.on('error', (error) => {
      logger.debug({ reason: error.message }, 'a database connection was lost')
    })
  })

  const kysely = new Kysely<Tables>({ dialect: new Dialect({ pool: toKyselyPool(pool) }) })
  let closed: Promise<void> | undefined
  return {
    pool,
    kysely,
    get isPooled () { return isPooled },
    close () {
      closed ??= kysely.destroy().then(() => pool.ended ? undefined : pool.end())
      return closed
    }
  }
}

/** pg would throw at the first query, with the URL and its password in the error. */
function checkConnectionString (config: pg.PoolConfig): void {
  try {
    // eslint-disable-next-line no-new -- only its constructor parses the URL; it does not connect
    new pg.Client(config)
  } catch (error) {
    const reason = error instanceof Error && !('input' in error) ? error.message : 'it is not a URL'
    throw new StorageError('VITAL_DATABASE_URL_INVALID',
      `The PostgreSQL connection string (DATABASE_URL) cannot be read: ${reason}. Write it as ` +
      'postgres://user:password@host:5432/database, with special characters of the password percent-encoded.')
  }
}

/**
 * Kysely releases every client as healthy. A client whose query timed out still waits for the answer, and the next
 * query would wait behind it. So a client whose query failed without an answer of the server (no SQLSTATE) is closed.
 */
function toKyselyPool (pool: pg.Pool): PostgresPool {
  return {
    async connect () {
      const client = await pool.connect()
      let broken = false
      const query = async (text: string, values: unknown[]): Promise<unknown> => {
        try {
          return await client.query(text, values)
        } catch (error) {
          if (!(error instanceof pg.DatabaseError)) broken = true
          throw error
        }
      }
      return { query: query as PostgresPoolClient['query'], release: () => { client.release(broken) } }
    },
    end: () => pool.end()
  }
}
