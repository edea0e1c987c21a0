import type { Logger } from 'pino'
import type { PartitionedTable } from '../../db/partitions.ts'
import { type Removed, removeExpired } from '../../db/retention.ts'
import type { Task } from './scheduler.ts'

const HOUR_MS = 3_600_000
/** Short, so that retention also runs on a gateway that is restarted often. */
const FIRST_MS = 2000

/**
 * The hourly task that removes expired rows of a table, and the counts of removed rows since the start.
 * If `days` is 0, there is no task.
 */
export function createRetention ({ table, days, connectionString, isStopping, logger }: {
  readonly table: PartitionedTable
  readonly days: number
  readonly connectionString: string
  readonly isStopping: () => boolean
  readonly logger: Logger
}) {
  let removed: Removed = { partitions: 0, rows: 0 }
  const task: Task = {
    name: `retention of ${table}`,
    intervalMs: HOUR_MS,
    firstAfterMs: FIRST_MS,
    run: async () => await removeExpired({
      connectionString,
      table,
      days,
      now: new Date(),
      logger,
      isStopping,
      onRemoved ({ partitions, rows }) {
        removed = { partitions: removed.partitions + partitions, rows: removed.rows + rows }
      }
    })
  }
  return { tasks: days === 0 ? [] : [task], removed: () => removed }
}
