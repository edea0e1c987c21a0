import type { Logger } from 'pino'
import type { Database } from '../db/database.ts'
import { migrate } from '../db/migrate.ts'
import { createPartitionsAhead } from '../db/partitions.ts'
import { countDeadLetters } from '../db/queries/count-dead-letters.ts'
import { readServerWarnings } from '../db/server-settings.ts'
import type { Clock } from './clock.ts'
import type { DeadLetterCaps } from './ingest/dead-letter-caps.ts'

interface PrepareDatabaseOptions {
  readonly database: Database
  readonly connectionString: string
  /** Takes up how many dead letters there are. */
  readonly caps: DeadLetterCaps
  readonly clock: Clock
  /** Ends the wait for the lock of the migrations. */
  readonly signal: AbortSignal
  readonly logger: Logger
}

/**
 * Makes the database ready for traffic.
 * @returns what weakens it, logged already
 * @throws the coded errors of `db`, or the error of pg
 */
export async function prepareDatabase ({ database, connectionString, caps, clock, signal, logger }: PrepareDatabaseOptions): Promise<string[]> {
  const warnings = await readServerWarnings(database.pool)
  await clock.read(database.pool)
  await migrate({ connectionString, signal, logger })
  signal.throwIfAborted()
  await createPartitionsAhead({ database, now: new Date(clock.nowMs()), logger })
  caps.load(await countDeadLetters(database.kysely))
  for (const warning of warnings) logger.warn(warning)
  return warnings
}
