import type { Logger } from 'pino'
import type { Database } from '../../db/database.ts'
import { countDeadLetters } from '../../db/queries/count-dead-letters.ts'
import type { Clock } from '../clock.ts'
import type { LatestCache } from '../reads/latest-cache/latest-cache.ts'
import type { DeadLetterCaps } from '../ingest/dead-letter-caps.ts'
import type { Metrics } from '../metrics/metrics.ts'
import { createPartitionUpkeep } from '../operations/partition-upkeep.ts'
import { prepareDatabase } from '../operations/prepare-database.ts'
import { createScheduler, type Task } from '../operations/scheduler.ts'
import { createRollups } from '../rollups/rollups.ts'
import { createFoundErasures } from './found-erasures.ts'

const MINUTE_MS = 60_000

interface UpkeepOptions {
  readonly connectionString: string
  readonly database: Database
  /** application_name of this sink. */
  readonly name: string
  /** `null`: there is no copy of the latest states. */
  readonly copy: Pick<LatestCache, 'aroundErasure'> | null
  readonly clock: Clock
  readonly caps: DeadLetterCaps
  /** Whether batches leave no time for averages. */
  readonly isSaturated: () => boolean
  readonly signal: AbortSignal
  readonly metrics: Metrics
  readonly logger: Logger
}

/** Work of a sink beside the traffic, as in gateways: tables and their partitions, averages, counts of dead letters. */
export function createUpkeep (options: UpkeepOptions) {
  const { connectionString, database, name, copy, clock, caps, isSaturated, signal, metrics, logger } = options
  const partitions = createPartitionUpkeep({ connectionString, clock, logger })
  const rollups = createRollups({ connectionString, clock, isSaturated, metrics, logger })
  const countLetters: Task = {
    name: 'dead-letter counts', intervalMs: MINUTE_MS, run: async () => { caps.load(await countDeadLetters(database.kysely)) }
  }
  const found = createFoundErasures({
    kysely: database.kysely,
    connectionString,
    name,
    aroundErasure: (device, erase) => copy === null ? erase() : copy.aroundErasure(device, erase),
    signal,
    logger
  })
  const scheduler = createScheduler({ tasks: [partitions.task, countLetters, found.task, ...rollups.tasks], logger })
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
    /** Settles when no erasure and no step of the averages is under way. */
    async stop (): Promise<void> {
      scheduler.stop()
      await Promise.all([rollups.stop(), found.settled()])
    }
  }
}
