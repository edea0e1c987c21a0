import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import { pino } from 'pino'
import { createDatabase, type Database } from '../../db/database.ts'
import { migrate } from '../../db/migrate.ts'
import { StorageError } from '../../db/storage-error.ts'
import { toSqlState } from '../../db/sqlstate.ts'
import type { Config } from '../../src/config/config.ts'
import { OperatorError } from './operator-error.ts'

const CONNECT_TIMEOUT_MS = 5000

/**
 * The address at which the gateway of this environment answers HTTP. With TLS its certificate may name another host:
 * then the operator gives --url.
 */
export function toGatewayUrl ({ host, httpPort, transport }: Config): string {
  return toUrl(transport.tls === null ? 'http' : 'https', host, httpPort)
}

/** Address of its metrics. */
export function toMetricsUrl (config: Config): string {
  const { tls, admin } = config.transport
  if (admin === null) return toGatewayUrl(config)
  return toUrl(tls === null || admin.isLoopback ? 'http' : 'https', admin.host, admin.port)
}

function toUrl (protocol: string, host: string, port: number): string {
  const isWildcard = host === '0.0.0.0' || host === '::'
  const name = isWildcard ? '127.0.0.1' : host
  return `${protocol}://${name.includes(':') ? `[${name}]` : name}:${port}`
}

/**
 * Runs `work` with the PostgreSQL of the gateway: `DATABASE_URL`, else the embedded one of `VITAL_DATA_DIR`.
 * @param options.statementTimeoutMs - longest that one statement may take
 * @param options.isPreparing - makes the tables in a database that has none, so that a gateway can find credentials at its first start
 * @throws `OPERATOR_FAILED` when it cannot be found or reached, or holds no tables of ours
 */
export async function withDatabase<T> (
  { config, name, statementTimeoutMs, isPreparing = false }: {
    config: Config
    name: string
    statementTimeoutMs: number
    isPreparing?: boolean
  },
  work: (database: Database) => Promise<T>
): Promise<T> {
  const { connectionString, source } = await findConnectionString(config)
  const logger = pino({ level: 'silent' })
  let database: Database | undefined
  try {
    database = createDatabase({
      connectionString,
      poolSize: 1,
      logger,
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
      statementTimeoutMs,
      queryTimeoutMs: statementTimeoutMs + 1000,
      applicationName: `vital ${name}`
    })
    const { rows: [found] } = await database.pool.query<{ isEmpty: boolean }>('select to_regclass(\'readings\') is null as "isEmpty"')
    if (isPreparing && found?.isEmpty === true) await migrate({ connectionString, logger })
    return await work(database)
  } catch (cause) {
    throw toOperatorError(cause, source)
  } finally {
    await database?.close()
  }
}

/** The connection string of the gateway's PostgreSQL. @throws `OPERATOR_FAILED` */
export async function toDatabaseUrl (config: Config): Promise<string> {
  return (await findConnectionString(config)).connectionString
}

async function findConnectionString ({ databaseUrl, dataDir }: Config): Promise<{ connectionString: string, source: string }> {
  if (databaseUrl !== null) return { connectionString: databaseUrl, source: 'DATABASE_URL' }
  const path = join(dataDir, 'database-url')
  try {
    return { connectionString: (await readFile(path, 'utf8')).trim(), source: path }
  } catch (cause) {
    throw new OperatorError('OPERATOR_FAILED', (cause as NodeJS.ErrnoException).code === 'ENOENT'
      ? `cannot tell which PostgreSQL: DATABASE_URL is not set, and ${path} does not exist.\n` +
        'Start the gateway there once (npm start), or set DATABASE_URL or VITAL_DATA_DIR to that of the gateway.'
      : `${path} cannot be read (${(cause as NodeJS.ErrnoException).code}): run this as the user that runs the gateway, or set ` +
        'DATABASE_URL.', { cause })
  }
}

/** Our own errors and defects pass; errors of PostgreSQL or the network get the address, never a password. */
function toOperatorError (cause: unknown, source: string): unknown {
  if (cause instanceof OperatorError) return cause
  if (cause instanceof StorageError) return new OperatorError('OPERATOR_FAILED', cause.message, { cause })
  const state = toSqlState(cause)
  if (state === '42P01') {
    return new OperatorError('OPERATOR_FAILED', `the database of ${source} has no tables of vital-gateway: start a gateway on it first.`,
      { cause })
  }
  const { code, message } = cause as NodeJS.ErrnoException
  const isAway = code !== undefined || /timeout|terminated|Connection/i.test(message)
  if (!(cause instanceof pg.DatabaseError) && !isAway) return cause
  return new OperatorError('OPERATOR_FAILED', `PostgreSQL of ${source}: ${message === '' ? code : message}.\n` +
    (source === 'DATABASE_URL'
      ? 'Is it running, and does DATABASE_URL name it?'
      : 'The embedded PostgreSQL runs while the gateway does: start it with npm start.'), { cause })
}
