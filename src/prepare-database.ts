import type { Logger } from 'pino'
import type { Database } from '../db/database.ts'
import { migrate } from '../db/migrate.ts'
import { createPartitionsAhead } from '../db/partitions.ts'
import { countDeadLetters } from '../db/queries/count-dead-letters.ts'
import { readServerWarnings } from '../db/server-settings.ts'
import { toSqlState } from '../db/sqlstate.ts'
import type { DeadLetterCaps } from './ingest/dead-letter-caps.ts'

interface PrepareDatabaseOptions {
  readonly database: Database
  readonly connectionString: string
  /** Takes up how many dead letters there are. */
  readonly caps: DeadLetterCaps
  readonly logger: Logger
}

/**
 * Makes the database ready for traffic.
 * @returns what weakens it, logged already
 * @throws the coded errors of `db`, or the error of pg
 */
export async function prepareDatabase ({ database, connectionString, caps, logger }: PrepareDatabaseOptions): Promise<string[]> {
  const warnings = await readServerWarnings(database.pool)
  await migrate({ connectionString, logger })
  await createPartitionsAhead({ database, now: new Date(), logger })
  caps.load(await countDeadLetters(database.kysely))
  for (const warning of warnings) logger.warn(warning)
  return warnings
}

/** Class 28, invalid_authorization, and 3D, invalid_catalog_name: at start that is a mistake in DATABASE_URL, not an outage. */
export function isRefusal (error: unknown): boolean {
  return /^(?:28|3D)/.test(toSqlState(error) ?? '')
}
