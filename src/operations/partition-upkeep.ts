import type { Logger } from 'pino'
import { maintainPartitions } from '../../db/partitions.ts'
import type { Clock } from '../clock.ts'
import type { Task } from './scheduler.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS

/**
 * Makes the monthly partitions of `readings` ahead, at the start and each hour, and warns of those that could not be
 * made.
 */
export function createPartitionUpkeep ({ connectionString, clock, logger }: {
  readonly connectionString: string, readonly clock: Pick<Clock, 'nowMs'>, readonly logger: Logger
}) {
  let warnings: readonly string[] = []

  /** @throws the error of pg; the warnings then stay as they were */
  async function run (isStart = false): Promise<void> {
    warnings = (await maintainPartitions({ connectionString, now: new Date(clock.nowMs()), logger, isStart })).warnings
  }

  const task: Task = { name: 'partitions', intervalMs: HOUR_MS, firstAfterMs: MINUTE_MS, run: () => run() }
  return { run, task, warnings: () => warnings }
}

export type PartitionUpkeep = ReturnType<typeof createPartitionUpkeep>
