/**
 * Rewrites the files that hold an erased device. A partition of Kafka has files of its own, and a marker of the erasure of its
 * own: when it is met, all that stands before it in this partition is in files of earlier plans, or was left out of this one.
 * A file is replaced only as it was read (`If-Match`), so that of two lakes that rewrite one neither undoes what the other did;
 * it stays, also empty, so that a lake which was frozen does not write it anew (`If-None-Match`).
 *
 * A compaction moves readings into an earlier file of their hour, and reads that one first. So files are gone through from the
 * last one to the first, and each into which a later one may be moved is rewritten, also where it does not hold the device:
 *
 *   compaction   reads the first file      reads a later one, with the device         replaces the first one as it was read
 *   erasure                                                              rewrites the later one, then the first one
 *
 * Either the compaction finds the first file replaced, and begins anew, or the erasure finds there what was moved.
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

/** Files of one partition and hour begin so. */
const toHourPrefix = (place: Assigned, hour: number) => toFileKey(place, 0, hour).slice(0, -'0.parquet'.length)

interface ErasingOptions {
  readonly store: Pick<ObjectStore, 'list' | 'download' | 'replace'>
  readonly plans: Pick<Plans, 'all' | 'forget'>
  readonly table: Pick<ReadingsTable, 'connection'>
  /** Of the table. */
  readonly dir: string
  readonly limits: LakeLimits
  readonly logger: Logger
}

export function createErasing ({ store, plans, table, dir, limits, logger }: ErasingOptions) {
  /** Plans that name the device. */
  async function findPlans (place: Assigned, device: string, before: number): Promise<Plan[]> {
    const found: Plan[] = []
    for await (const plan of plans.all(place)) if (plan.firstOffset < before && plan.devices.includes(device)) found.push(plan)
    return found
  }

  /** Keys of the files of an hour, the last one first. */
  async function findFiles (place: Assigned, hour: number): Promise<string[]> {
    const files = []
    for await (const { key } of store.list(toHourPrefix(place, hour))) files.push(parseFileKey(key)!)
    return files.sort((a, b) => b.firstOffset - a.firstOffset).map(({ key }) => key)
  }

  /**
   * @param isTouched - it is rewritten in any case, unless it is empty
   * @returns readings of the device that were in it; `null`: another process has replaced it meanwhile
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

  /** @returns readings of the device that were in it */
  async function rewrite (key: string, erasure: PlannedErasure, isTouched: boolean): Promise<number> {
    for (;;) {
      const count = await withPaths(dir, 2, (paths) => rewriteOnce(key, erasure, isTouched, paths))
      if (count !== null) return count
    }
  }

  return {
    /**
     * @param before - first offset of the plan in which the marker stands
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
      // Last: a lake that is killed before finds the hours by them again.
      for (const plan of named) await plans.forget(plan, erasure.device)
      return rewritten
    }
  }
}

export type Erasing = ReturnType<typeof createErasing>
