import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Database } from '../../db/database.ts'
import type { PartitionedTable } from '../../db/partitions.ts'
import { countDeadLetters } from '../../db/queries/count-dead-letters.ts'
import type { Clock } from '../clock.ts'
import type { Pipeline } from '../ingest/pipeline.ts'
import type { Metrics } from '../metrics/metrics.ts'
import type { GatewayReads } from '../reads/reads.ts'
import { createErasure, type ErasureObserver, type ErasureOptions } from './erasure.ts'
import { createErasureJournal } from './erasure-journal.ts'
import { createErasureMarkers, type ErasureMarkersOptions } from './erasure-markers.ts'
import { createErasureRequests, type ErasureRequestsOptions } from './erasure-requests.ts'
import { addOperationsMetrics } from './operations-metrics.ts'
import { createPartitionUpkeep } from './partition-upkeep.ts'
import { prepareDatabase } from './prepare-database.ts'
import { createRetention } from './retention.ts'
import { createRollups } from '../rollups/rollups.ts'
import { createScheduler, type Task } from './scheduler.ts'

const MINUTE_MS = 60_000
const LOOK_INTERVAL_MS = 1000
const RESUME_INTERVAL_MS = 2000
/** A stop does not wait for PostgreSQL longer than this. */
const LEAVE_MAX_MS = 1000

interface OperationsOptions extends Pick<ErasureOptions, 'spoolDirectory' | 'forget' | 'isStopping'> {
  readonly dataDir: string
  /** Called for each device that is erased, once the order in memory has forgotten it. */
  readonly onErased: ErasureObserver
  /** Days that readings are kept; 0 keeps all. */
  readonly retentionDays: number
  /** Days that roll-ups are kept; 0 keeps all. */
  readonly rollupRetentionDays: number
  readonly database: Database
  readonly connectionString: string
  readonly applicationName: string
  readonly reads: Pick<GatewayReads, 'budget' | 'forgetCopied'> & { readonly pages: { readonly forget: ErasureObserver } }
  readonly pipeline: Pipeline
  readonly erasures: Pick<ErasureRequestsOptions, 'erased' | 'lease' | 'onStep'>
  /** `null`: PostgreSQL is the journal. */
  readonly kafka: ErasureMarkersOptions['log'] | null
  /** `null`: gateways share no messages. */
  readonly redisUrl: string | null
  readonly clock: Clock
  /** Tasks of other rooms. */
  readonly tasks: readonly Task[]
  readonly signal: AbortSignal
  readonly metrics: Metrics
  readonly logger: Logger
}

/** Work beside the traffic: preparing and maintaining the database, retention, and erasures of devices. */
export function createOperations (options: OperationsOptions) {
  const { database, connectionString, reads, pipeline, clock, isStopping, signal, logger } = options
  const { caps } = pipeline
  const partitions = createPartitionUpkeep({ connectionString, clock, logger })
  const retentionOf = (table: PartitionedTable, days: number) => createRetention({
    table, days, connectionString, isStopping, logger
  })
  const retention = retentionOf('readings', options.retentionDays)
  const rollupRetention = (['rollups_5m', 'rollups_1h'] as const)
    .map((table) => retentionOf(table, options.rollupRetentionDays))
  const rollups = createRollups({
    connectionString,
    clock,
    isSaturated: () => pipeline.batcher.isBusy || !pipeline.isDatabaseUp(),
    metrics: options.metrics,
    logger
  })
  const onErased: readonly ErasureObserver[] = [reads.pages.forget, reads.forgetCopied, options.onErased]
  const requests = createErasureRequests({
    ...options,
    ...options.erasures,
    kysely: database.kysely,
    name: options.applicationName,
    async onDeleted (device) { for (const observe of onErased) await observe(device) }
  })
  const { onStep } = options.erasures
  const journal = createErasureJournal(options.dataDir)
  const erasure = createErasure({
    ...options,
    onStep,
    journal,
    onErased,
    requests,
    hasRedis: options.redisUrl !== null,
    mark: options.kafka === null ? undefined : createErasureMarkers({ kysely: database.kysely, log: options.kafka, onStep })
  })
  const countLetters: Task = {
    name: 'dead-letter counts',
    intervalMs: MINUTE_MS,
    run: async () => { caps.load(await reads.budget.background(countDeadLetters)) }
  }
  const erasureTasks: Task[] = [
    { name: 'requests to erase', intervalMs: LOOK_INTERVAL_MS, run: requests.look },
    { name: 'erasures that were left', intervalMs: RESUME_INTERVAL_MS, firstAfterMs: LOOK_INTERVAL_MS, run: erasure.resume }
  ]
  const scheduler = createScheduler({
    tasks: [
      partitions.task, countLetters, ...erasureTasks, ...options.tasks, ...retention.tasks,
      ...rollupRetention.flatMap(({ tasks }) => tasks), ...rollups.tasks
    ],
    logger
  })
  addOperationsMetrics(options.metrics, () => ({ clock, removed: retention.removed() }))
  let databaseWarnings: readonly string[] = []
  let rolledUp: Promise<void> = Promise.resolve()

  return {
    erase: erasure.erase,
    warnings: () => [...databaseWarnings, ...partitions.warnings(), ...rollups.warnings()],

    /** Makes the database ready for traffic. @throws the coded errors of `db`, or the error of pg */
    async prepareDatabase (): Promise<void> {
      databaseWarnings = await prepareDatabase({ database, connectionString, caps, clock, partitions, signal, logger })
      // Before anything is replayed, so that devices that were erased while this gateway was away are left out.
      await requests.register()
    },

    /** Starts the tasks. */
    start (): void {
      scheduler.start()
      rollups.start()
    },
    /** Starts no more tasks. */
    stop (): void {
      scheduler.stop()
      rolledUp = rollups.stop()
    },
    /** Settles when no erasure and no step of the roll-ups is under way. */
    async settled (): Promise<void> {
      await Promise.all([erasure.settled(), requests.settled(), rolledUp])
    },
    /** Called when nothing is replayed any more. */
    async leave (): Promise<void> {
      if (!pipeline.isDatabaseUp()) return
      await Promise.race([requests.leave().catch(() => {}), sleep(LEAVE_MAX_MS, null, { ref: false })])
    }
  }
}
