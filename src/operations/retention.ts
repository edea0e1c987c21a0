import type { Logger } from 'pino'
import { type Removed, removeExpired } from '../../db/retention.ts'
import type { Task } from './scheduler.ts'

const HOUR_MS = 3_600_000
/** Soon, so that a gateway which is restarted often keeps to it too. */
const FIRST_MS = 2000

/**
 * The hourly task that removes expired readings, and what it removed since the start, for the metrics. `days` 0: no
 * task.
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
