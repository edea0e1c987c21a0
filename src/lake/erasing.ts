/**
 * Rewrites the files that hold an erased device. Each partition of Kafka has its own files and its own marker of the
 * erasure. When the marker is read, all readings before it in this partition are in files of earlier plans, or were
 * left out of the current plan. A file is replaced only if it is still as it was read (`If-Match`), so that two lakes
 * that rewrite the same file do not undo each other's work. The file stays even if it is empty, so that a lake that was
 * frozen does not write it again (`If-None-Match`).
 *
 * A compaction moves readings into an earlier file of their hour, and reads that file first. So an erasure goes through
 * the files from the last one to the first. It also rewrites each file into which readings of a later file may be
 * moved, even if that file does not hold the device:
 *
 *   compaction   reads the first file      reads a later one, with the device      replaces the first one, if unchanged
 *   erasure                                                            rewrites the later one, then the first one
 *
 * Either the compaction finds that the first file was replaced, and starts again, or the erasure finds the moved
 * readings in the first file.
 */
import { randomUUID } from 'node:crypto'
import { stat } from 'node:fs/promises'
import type { Logger } from 'pino'
import type { Assigned } from '../sink/place.ts'
import type { LakeLimits } from './limits.ts'
import type { ObjectStore } from './object-store.ts'
import { parseFileKey, type Plan, type PlannedErasure, toFileKey, toHourOf } from './plan.ts'
import type { Plans } from './plans.ts'
import { toCopy, toLiteral, toRows, withPaths } from './parquet.ts'
import type { ReadingsTable } from './readings-table.ts'

/** Common prefix of the files of one partition and hour. */
const toHourPrefix = (place: Assigned, hour: number) => toFileKey(place, 0, hour).slice(0, -'0.parquet'.length)

interface ErasingOptions {
  readonly store: Pick<ObjectStore, 'list' | 'download' | 'replace'>
  readonly plans: Pick<Plans, 'all' | 'forget'>
  readonly table: Pick<ReadingsTable, 'connection'>
  /** Directory of the table. */
  readonly dir: string
  readonly limits: LakeLimits
  readonly logger: Logger
}

export function createErasing ({ store, plans, table, dir, limits, logger }: ErasingOptions) {
  /** Plans that list the device. */
  async function findPlans (place: Assigned, device: string, before: number): Promise<Plan[]> {
    const found: Plan[] = []
    for await (const plan of plans.all(place)) if (plan.firstOffset < before && plan.devices.includes(device)) found.push(plan)
    return found
  }

  /** Keys of the files of an hour, the last file first. */
  async function findFiles (place: Assigned, hour: number): Promise<string[]> {
    const files = []
    for await (const { key } of store.list(toHourPrefix(place, hour))) files.push(parseFileKey(key)!)
    return files.sort((a, b) => b.firstOffset - a.firstOffset).map(({ key }) => key)
  }

  /**
   * @param isTouched - rewrites the file even if it does not hold the device, unless it is empty
   * @returns number of readings of the device that were in the file; `null`: another process has replaced it meanwhile
   */
  async function rewriteOnce (
    key: string, { device, offset }: PlannedErasure, isTouched: boolean, [path, rewritten]: readonly string[]
  ): Promise<number | null> {
    const etag = await store.download(key, path!)
    if (etag === null) return 0
    const isOlder = `device = ${toLiteral(device)} and "offset" < ${offset}`
    const found = await table.connection.runAndReadAll(
      `select count(*), count(*) filter (where ${isOlder}) from ${toRows([path!])}`)
    const [rows, count] = found.getRows()[0]!.map(Number) as [number, number]
    if (rows === 0 || (count === 0 && !isTouched)) return 0
    await table.connection.run(toCopy(`select * from ${toRows([path!])} where not (${isOlder})`, rewritten!, limits, randomUUID()))
    return await store.replace(key, { path: rewritten!, bytes: (await stat(rewritten!)).size }, etag) ? count : null
  }

  /** @returns number of readings of the device that were in the file */
  async function rewrite (key: string, erasure: PlannedErasure, isTouched: boolean): Promise<number> {
    for (;;) {
      const count = await withPaths(dir, 2, (paths) => rewriteOnce(key, erasure, isTouched, paths))
      if (count !== null) return count
    }
  }

  return {
    /**
     * @param before - first offset of the plan that holds the marker
     * @returns keys of the files that held the device
     */
    async erase (place: Assigned, erasure: PlannedErasure, before: number): Promise<string[]> {
      const rewritten: string[] = []
      const named = await findPlans(place, erasure.device, before)
      for (const hour of new Set(named.flatMap(({ files }) => files.map((key) => toHourOf(key)!)))) {
        for (const [index, key] of (await findFiles(place, hour)).entries()) {
          const readings = await rewrite(key, erasure, index > 0)
          if (readings === 0) continue
          rewritten.push(key)
          logger.info({ erasure: erasure.erasure, file: key, readings }, 'a file was rewritten without a device that is erased')
        }
      }
      // Last, because a lake that is killed before this finds the hours by these plans again.
      for (const plan of named) await plans.forget(plan, erasure.device)
      return rewritten
    }
  }
}

export type Erasing = ReturnType<typeof createErasing>
