import type { Logger } from 'pino'
import type { Database } from '../../db/database.ts'
import { migrate } from '../../db/migrate.ts'
import { countDeadLetters } from '../../db/queries/count-dead-letters.ts'
import { readServerWarnings } from '../../db/server-settings.ts'
import { isServerError } from '../../db/sqlstate.ts'
import type { Clock } from '../clock.ts'
import type { DeadLetterCaps } from '../ingest/dead-letter-caps.ts'
import type { PartitionUpkeep } from './partition-upkeep.ts'

interface PrepareDatabaseOptions {
  readonly database: Database
  readonly connectionString: string
  /** Caps to load with the counts of dead letters. */
  readonly caps: DeadLetterCaps
  readonly clock: Clock
  readonly partitions: Pick<PartitionUpkeep, 'run'>
  /** Ends the wait for the lock of the migrations. */
  readonly signal: AbortSignal
  readonly logger: Logger
}

/**
 * Makes the database ready for traffic.
 * @returns warnings about the database, which were also logged
 * @throws the coded errors of `db`, or the error of pg
 */
export async function prepareDatabase (options: PrepareDatabaseOptions): Promise<string[]> {
  const { database, connectionString, caps, clock, partitions, signal, logger } = options
  const warnings = await readServerWarnings(database.pool)
  await clock.read(database.pool)
  await migrate({ connectionString, signal, logger })
  signal.throwIfAborted()
  await keepGoing(partitions.run(true), logger)
  caps.load(await countDeadLetters(database.kysely))
  for (const warning of warnings) logger.warn(warning)
  return warnings
}

/** Without a partition readings go into the default one. The start continues, and the hourly task tries again. */
async function keepGoing (partitions: Promise<void>, logger: Logger): Promise<void> {
  try {
    await partitions
  } catch (error) {
    if (!isServerError(error)) throw error
    logger.warn({ err: error }, 'partitions could not be created now; trying again within the hour')
  }
}
