import type { Logger } from 'pino'
import { createDatabase } from '../../db/database.ts'
import { describeOldestWriter } from '../../db/queries/describe-writers.ts'
import { type Backlog, readBacklog } from '../../db/rollups/backlog.ts'
import type { Clock } from '../clock.ts'
import type { Metrics } from '../metrics/metrics.ts'
import type { Task } from '../operations/scheduler.ts'
import { createRollupWorker } from './rollup-worker.ts'
import { addRollupMetrics } from './rollup-metrics.ts'

/** A chunk takes 100 ms; one of a device with very many readings in a bucket may take longer. */
const STATEMENT_TIMEOUT_MS = 60_000

const BACKLOG_INTERVAL_MS = 10_000
/** Buckets are closed within 5.5 minutes of their start, and some seconds. */
const LAG_WARNED_S = 1800

interface RollupsOptions {
  readonly connectionString: string
  readonly clock: Pick<Clock, 'nowMs'>
  /** Ingest has no time to spare. */
  readonly isSaturated: () => boolean
  readonly metrics: Metrics
  readonly logger: Logger
}

/** Roll-ups of this gateway: the worker on a connection of its own, its metrics, and warnings of its backlog. */
export function createRollups ({ connectionString, clock, isSaturated, metrics, logger }: RollupsOptions) {
  const database = createDatabase({
    connectionString,
    logger,
    // One for the worker's steps, and one to read the backlog, which must not wait for a long step.
    poolSize: 2,
    statementTimeoutMs: STATEMENT_TIMEOUT_MS,
    queryTimeoutMs: STATEMENT_TIMEOUT_MS + 1000,
    applicationName: 'vital-gateway rollups'
  })
  const { kysely } = database
  const worker = createRollupWorker({ kysely, nowMs: clock.nowMs, isSaturated, logger })
  let backlog: Backlog = { lagS: 0, marks: 0, isUnbuilt: false }
  let warnings: readonly string[] = []
  /** The transaction that was logged. */
  let logged = ''
  addRollupMetrics(metrics, () => ({ backlog, counts: worker.counts }))

  const task: Task = {
    name: 'backlog of roll-ups',
    intervalMs: BACKLOG_INTERVAL_MS,
    async run () {
      backlog = await readBacklog(kysely)
      warnings = [...await describeWait(), ...describeLag(backlog)]
    }
  }

  async function describeWait (): Promise<string[]> {
    const waiting = worker.waitingForWriters()
    const writer = waiting === null ? undefined : await describeOldestWriter(kysely, waiting)
    if (writer === undefined) {
      logged = ''
      return []
    }
    const { pid, database, name, ageS } = writer
    const of = pid === null ? `the prepared transaction ${name}` : `process ${pid} (${name})`
    const warning = `No bucket of averages is closed, because ${of} has had a transaction on readings open in database ` +
      `${database} for ${Math.round(ageS)} s. Averages stay exact, and queries of them take longer. End that transaction.`
    if (logged !== of) logger.warn({ pid, database, name, ageS: Math.round(ageS) }, 'a transaction holds up the closing of averages')
    logged = of
    return [warning]
  }

  return {
    tasks: [task],
    warnings: () => warnings,
    start: worker.start,
    /** Settles once the step under way has ended. */
    async stop (): Promise<void> {
      await worker.stop()
      await database.close()
    }
  }
}

function describeLag ({ lagS }: Backlog): string[] {
  return lagS < LAG_WARNED_S
    ? []
    : [`Averages are computed up to ${Math.round(lagS / 60)} minutes ago; queries of later ones take longer.`]
}
