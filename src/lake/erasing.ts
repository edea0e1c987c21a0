/**
 * Rewrites the files that hold an erased device. A partition of Kafka has files of its own, and a marker of the erasure of its
 * own: when it is met, all that stands before it in this partition is in files of earlier plans, or was left out of this one.
 * A file is replaced only as it was read (`If-Match`), so that of two lakes that rewrite one neither undoes what the other did;
 * it stays, also empty, so that a lake which was frozen does not write it anew (`If-None-Match`).
 */
import { randomUUID } from 'node:crypto'
import { rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { Assigned } from '../sink/place.ts'
import type { LakeLimits } from './limits.ts'
import type { ObjectStore } from './object-store.ts'
import { type PlannedErasure, toFileKey, toHourOf } from './plan.ts'
import type { Plans } from './plans.ts'
import { type ReadingsTable, toCopy, toLiteral } from './readings-table.ts'

/** Files of one partition and hour begin so. */
const toHourPrefix = (place: Assigned, hour: number) => toFileKey(place, 0, hour).slice(0, -'0.parquet'.length)

interface ErasingOptions {
  readonly store: ObjectStore
  readonly plans: Plans
  readonly table: Pick<ReadingsTable, 'connection'>
  /** Of the table. */
  readonly dir: string
  readonly limits: LakeLimits
  readonly logger: Logger
}

export function createErasing ({ store, plans, table, dir, limits, logger }: ErasingOptions) {
  const quoted = (path: string) => `read_parquet(${toLiteral(path)})`

  /** Hours of which a file may hold the device. */
  async function findHours (place: Assigned, device: string, before: number): Promise<number[]> {
    const hours = new Set<number>()
    for await (const { firstOffset, devices, files } of plans.all(place)) {
      if (firstOffset >= before || !devices.includes(device)) continue
      for (const key of files) hours.add(toHourOf(key)!)
    }
    return [...hours].sort((a, b) => a - b)
  }

  /** @returns readings that were in it; `null`: another lake has replaced it meanwhile */
  async function rewriteOnce (key: string, { device, offset }: PlannedErasure, path: string, rewritten: string): Promise<number | null> {
    const etag = await store.download(key, path)
    if (etag === null) return 0
    const isOlder = `device = ${toLiteral(device)} and "offset" < ${offset}`
    const found = await table.connection.runAndReadAll(`select count(*) from ${quoted(path)} where ${isOlder}`)
    const count = Number(found.getRows()[0]![0])
    if (count === 0) return 0
    await table.connection.run(toCopy(`select * from ${quoted(path)} where not (${isOlder})`, rewritten, limits))
    return await store.replace(key, { path: rewritten, bytes: (await stat(rewritten)).size }, etag) ? count : null
  }

  /** @returns readings that were in it */
  async function rewrite (key: string, erasure: PlannedErasure): Promise<number> {
    for (;;) {
      // DuckDB 1.5.6 takes the statistics of another file that had this name before, and deletes by them what is newer.
      const path = join(dir, `${randomUUID()}.parquet`)
      const rewritten = join(dir, `${randomUUID()}.parquet`)
      try {
        const count = await rewriteOnce(key, erasure, path, rewritten)
        if (count !== null) return count
      } finally {
        await Promise.all([rm(path, { force: true }), rm(rewritten, { force: true })])
      }
    }
  }

  return {
    /**
     * @param before - first offset of the plan in which the marker stands
     * @returns keys of the files that were rewritten
     */
    async erase (place: Assigned, erasure: PlannedErasure, before: number): Promise<string[]> {
      const rewritten: string[] = []
      for (const hour of await findHours(place, erasure.device, before)) {
        for await (const { key } of store.list(toHourPrefix(place, hour))) {
          const readings = await rewrite(key, erasure)
          if (readings === 0) continue
          rewritten.push(key)
          logger.info({ erasure: erasure.erasure, file: key, readings }, 'a file was rewritten without a device that is erased')
        }
      }
      return rewritten
    }
  }
}

export type Erasing = ReturnType<typeof createErasing>
