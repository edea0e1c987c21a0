import type { Logger } from 'pino'
import type { Database } from '../../db/database.ts'
import { countDeadLetters } from '../../db/queries/count-dead-letters.ts'
import type { Clock } from '../clock.ts'
import type { DeadLetterCaps } from '../ingest/dead-letter-caps.ts'
import type { Metrics } from '../metrics/metrics.ts'
import { createPartitionUpkeep } from '../operations/partition-upkeep.ts'
import { prepareDatabase } from '../operations/prepare-database.ts'
import { createScheduler, type Task } from '../operations/scheduler.ts'
import { createRollups } from '../rollups/rollups.ts'

const MINUTE_MS = 60_000

interface UpkeepOptions {
  readonly connectionString: string
  readonly database: Database
  readonly clock: Clock
  readonly caps: DeadLetterCaps
  /** Batches leave no time for averages. */
  readonly isSaturated: () => boolean
  readonly signal: AbortSignal
  readonly metrics: Metrics
  readonly logger: Logger
}

/** Work of a sink beside the traffic, which gateways do as well: the tables and their months, averages, counts of dead letters. */
export function createUpkeep ({ connectionString, database, clock, caps, isSaturated, signal, metrics, logger }: UpkeepOptions) {
  const partitions = createPartitionUpkeep({ connectionString, clock, logger })
  const rollups = createRollups({ connectionString, clock, isSaturated, metrics, logger })
  const countLetters: Task = {
    name: 'dead-letter counts', intervalMs: MINUTE_MS, run: async () => { caps.load(await countDeadLetters(database.kysely)) }
  }
  const scheduler = createScheduler({ tasks: [partitions.task, countLetters, ...rollups.tasks], logger })
  let databaseWarnings: readonly string[] = []
  return {
    warnings: () => [...databaseWarnings, ...partitions.warnings(), ...rollups.warnings()],
    /** Makes the database ready for traffic. @throws the coded errors of `db`, or the error of pg */
    async prepare (): Promise<void> {
      databaseWarnings = await prepareDatabase({ database, connectionString, caps, clock, partitions, signal, logger })
    },
    start (): void {
      scheduler.start()
      rollups.start()
    },
    /** Settles when no step of the averages is under way. */
    async stop (): Promise<void> {
      scheduler.stop()
      await rollups.stop()
    }
  }
}
