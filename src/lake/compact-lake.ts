import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Config } from '../config/config.ts'
import { ConfigError } from '../config/config-error.ts'
import { type Compacted, type CompactingOptions, createCompacting } from './compacting.ts'
import { LAKE_LIMITS } from './limits.ts'
import type { DayRange } from './listed-files.ts'
import { loadDuckDb } from './load-packages.ts'
import { openStore } from './open-store.ts'
import { createPlans } from './plans.ts'
import { createReadingsTable } from './readings-table.ts'

const TOLD_FROM_MS = 5000

export interface CompactLakeOptions extends Pick<CompactingOptions, 'queryMsMax' | 'isDryRun' | 'onJoined'> {
  readonly config: Pick<Config, 'lake' | 'dataDir'>
  readonly range: DayRange
  readonly signal: AbortSignal
  /** Called once, before the first long wait. */
  readonly onWait: () => void
}

/**
 * The composition root of `vital-gateway lake compact`.
 * @throws `ConfigError`, and errors of the store
 */
export async function compactLake (
  { config: { lake, dataDir }, range, queryMsMax, isDryRun, signal, onJoined, onWait }: CompactLakeOptions
): Promise<Compacted> {
  if (lake.location === null) {
    throw new ConfigError('vital-gateway lake compact needs VITAL_LAKE_URL: the lake, such as ' +
    's3://vital-lake/readings.')
  }
  const store = await openStore(lake.location, LAKE_LIMITS, signal)
  // A directory for each process, so that two can run on one machine.
  const dirs = join(dataDir, 'lake-compact')
  const dir = join(dirs, String(process.pid))
  let hasTold = false
  try {
    await removeLeft(dirs)
    const table = await createReadingsTable({ library: await loadDuckDb(), dir, limits: LAKE_LIMITS })
    try {
      return await createCompacting({
        store,
        plans: createPlans(store),
        table,
        dir,
        fileBytesMax: lake.fileBytesMax,
        queryMsMax,
        isDryRun,
        limits: LAKE_LIMITS,
        onJoined,
        async wait (ms) {
          if (ms > TOLD_FROM_MS && !hasTold) onWait()
          hasTold ||= ms > TOLD_FROM_MS
          await sleep(ms, undefined, { signal })
        }
      }).compact(range)
    } finally {
      await table.close()
    }
  } finally {
    store.close()
    await rm(dir, { recursive: true, force: true })
  }
}

/** Removes the directories of killed processes, because they hold readings. */
async function removeLeft (dirs: string): Promise<void> {
  for (const name of await readdir(dirs).catch(() => [])) {
    if (!isRunning(Number(name))) await rm(join(dirs, name), { recursive: true, force: true })
  }
}

function isRunning (pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
