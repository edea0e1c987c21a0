import type { Logger } from 'pino'
import { type Removed, removeExpired } from '../../db/retention.ts'
import type { Task } from './scheduler.ts'

const HOUR_MS = 3_600_000
/** Short, so that retention also runs on a gateway that is restarted often. */
const FIRST_MS = 2000

/**
 * The hourly task that removes expired readings, and the counts of removed readings since the start, for the metrics.
 * If `days` is 0, there is no task.
 */
export function createRetention ({ days, connectionString, isStopping, logger }: {
  readonly days: number
  readonly connectionString: string
  readonly isStopping: () => boolean
  readonly logger: Logger
}) {
  let removed: Removed = { partitions: 0, readings: 0 }
  const task: Task = {
    name: 'retention',
    intervalMs: HOUR_MS,
    firstAfterMs: FIRST_MS,
    run: async () => await removeExpired({
      connectionString,
      days,
      now: new Date(),
      logger,
      isStopping,
      onRemoved ({ partitions, readings }) {
        removed = { partitions: removed.partitions + partitions, readings: removed.readings + readings }
      }
    })
  }
  return { tasks: days === 0 ? [] : [task], removed: () => removed }
}
