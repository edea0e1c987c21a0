import { randomUUID } from 'node:crypto'
import { type Kysely, type Migration, Migrator, sql } from 'kysely'
import type { Logger } from 'pino'
import pg from 'pg'
import { createDatabase } from './database.ts'
import { initial } from './migrations/001-initial.ts'
import { principals } from './migrations/002-principals.ts'
import { breathRate } from './migrations/003-breath-rate.ts'
import { mergeFields } from './migrations/004-merge-fields.ts'
import { deviceCounts } from './migrations/005-device-counts.ts'
import { mergeLateFields } from './migrations/006-merge-late-fields.ts'
import { plainRates } from './migrations/007-plain-rates.ts'
import { largerValues } from './migrations/008-larger-values.ts'
import { principalChanges } from './migrations/009-principal-changes.ts'
import { rollups } from './migrations/010-rollups.ts'
import { erasures } from './migrations/011-erasures.ts'
import { sinkOffsets } from './migrations/012-sink-offsets.ts'
import { logErasures } from './migrations/013-log-erasures.ts'
import { leaderEpochs } from './migrations/014-leader-epochs.ts'
import { isServerError, toSqlState } from './sqlstate.ts'
import { StorageError } from './storage-error.ts'
import type { Tables } from './tables.ts'

/** Every migration, in the order of its name. An entry that was released never changes. */
const MIGRATIONS: Readonly<Record<string, Migration>> = {
  '001-initial': initial,
  '002-principals': principals,
  '003-breath-rate': breathRate,
  '004-merge-fields': mergeFields,
  '005-device-counts': deviceCounts,
  '006-merge-late-fields': mergeLateFields,
  '007-plain-rates': plainRates,
  '008-larger-values': largerValues,
  '009-principal-changes': principalChanges,
  '010-rollups': rollups,
  '011-erasures': erasures,
  '012-sink-offsets': sinkOffsets,
  '013-log-erasures': logErasures,
  '014-leader-epochs': leaderEpochs
}

const MIGRATION_TABLE = 'vital_migrations'

/** Kysely's own number, under which older gateways take turns. */
const ADVISORY_LOCK = 3_853_314_791_062_309_107n

/** Longest that a stop waits for the server to end a migration. */
const GIVE_UP_MS = 2000

/**
 * Brings the schema up to this program's version, in one transaction. May be run again, and by several gateways at
 * once: a transaction beside it holds an advisory lock, so the others wait and find nothing left to do. (Kysely's own
 * lock belongs to a session, and a pooler would leave it behind on a connection of the server.)
 * @param options.connectionString - it takes two connections of its own, without timeouts: the wait for the lock and a
 *   migration of much data may last longer than any query of the gateway
 * @returns names of the migrations that were run now
 * @throws `VITAL_SCHEMA_NEWER` when the database holds a migration that this program does not know
 * @throws `VITAL_MIGRATION_FAILED` when one failed and was rolled back, for a reason that a retry would meet again
 * @throws the error of pg when the database cannot be reached or has no room or time now
 * @throws 57P01 after `options.signal`, with nothing changed
 */
export async function migrate (
  options: { connectionString: string, signal?: AbortSignal, logger: Logger }
): Promise<string[]> {
  const { connectionString, signal, logger } = options
  signal?.throwIfAborted()
  const applicationName = `vital-gateway migrate ${randomUUID()}`
  const database = createDatabase({
    connectionString,
    logger,
    poolSize: 2,
    connectTimeoutMs: 10_000,
    statementTimeoutMs: 0,
    queryTimeoutMs: 0,
    idleInTransactionTimeoutMs: 0,
    applicationName
  })
  const giveUp = () => { endSession(connectionString, applicationName) }
  signal?.addEventListener('abort', giveUp, { once: true })
  try {
    await refuseNewerSchema(database.kysely)
    const migrator = new Migrator({
      db: database.kysely,
      provider: { getMigrations: () => Promise.resolve({ ...MIGRATIONS }) },
      migrationTableName: MIGRATION_TABLE,
      migrationLockTableName: 'vital_migrations_lock'
    })
    const { error, results } = await database.kysely.transaction().execute(async (turn) => {
      await sql`select pg_advisory_xact_lock(${sql.lit(ADVISORY_LOCK)})`.execute(turn)
      return await migrator.migrateToLatest()
    })
    if (error !== undefined) {
      // A newer gateway may have held the lock while we waited for it.
      await refuseNewerSchema(database.kysely)
      throw toMigrationError(error, results?.find((result) => result.status === 'Error')?.migrationName)
    }
    const names = (results ?? []).map((result) => result.migrationName)
    if (names.length > 0) logger.info({ migrations: names }, 'database schema migrated')
    return names
  } finally {
    signal?.removeEventListener('abort', giveUp)
    await database.close()
  }
}

/**
 * Ends the session that migrates. A server that waits for a lock does not notice a closed socket: the wait would go
 * on, and later statements on the same table would queue behind it.
 */
function endSession (connectionString: string, applicationName: string): void {
  const client = new pg.Client({ connectionString, connectionTimeoutMillis: GIVE_UP_MS, query_timeout: GIVE_UP_MS })
  client.on('error', () => { /* The promises below reject with it. */ })
  client.connect()
    .then(() => client.query('select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1',
      [applicationName]))
    // A server that cannot be reached rolls back by itself once it notices that we are gone.
    .catch(() => {})
    .finally(() => client.end())
    .catch(() => {})
}

/** Lost connections and classes 40, 53, 55 and 57 may pass, and are returned as they are. Other errors would recur. */
function toMigrationError (error: unknown, migration: string | undefined): Error {
  const cause = error instanceof Error ? error : new Error(String(error))
  if (!isServerError(cause) || /^(?:40|53|55|57)/.test(toSqlState(cause) ?? '')) return cause
  return new StorageError('VITAL_MIGRATION_FAILED',
    `Migration ${migration ?? `table ${MIGRATION_TABLE}`} failed and was rolled back: ${cause.message}. The database ` +
    'is as it was before. Put right what the message names (a role that may not create tables, a table of the same ' +
    'name), then start again.', { cause })
}

/** @returns names of the migrations that were run, in their order */
async function selectMigrations (db: Kysely<Tables>): Promise<string[]> {
  const { rows: [table] } = await sql<{ exists: boolean }>`select to_regclass(${MIGRATION_TABLE}) is not null as exists`
    .execute(db)
  if (table?.exists !== true) return []
  const { rows } = await sql<{ name: string }>`select name from ${sql.table(MIGRATION_TABLE)} order by name`
    .execute(db)
  return rows.map(({ name }) => name)
}

/** @returns names of the migrations that a gateway of this version will run, in their order */
export async function selectMissingMigrations (db: Kysely<Tables>): Promise<string[]> {
  const known = await selectMigrations(db)
  return Object.keys(MIGRATIONS).filter((name) => !known.includes(name))
}

/** @throws `VITAL_SCHEMA_NEWER` */
export async function refuseNewerSchema (db: Kysely<Tables>): Promise<void> {
  const unknown = (await selectMigrations(db)).filter((name) => !Object.hasOwn(MIGRATIONS, name))
  if (unknown.length > 0) {
    throw new StorageError('VITAL_SCHEMA_NEWER',
      `The database was migrated by a newer vital-gateway: this one does not know ${unknown.join(', ')}. ` +
      'Start the newer version, or point DATABASE_URL at another database.')
  }
}
