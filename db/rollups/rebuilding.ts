import { setTimeout as sleep } from 'node:timers/promises'
import { type Kysely, sql } from 'kysely'
import { StorageError } from '../storage-error.ts'
import type { Tables } from '../tables.ts'
import { computeRange, selectFilled } from './building.ts'
import { DAY_S, floorTo, HOUR_S, inTurn, readState } from './turn.ts'

/** Devices of one step: a day of theirs, at a reading a second, takes PostgreSQL some seconds. */
const DEVICES_MAX = 10

export interface RebuildOptions {
  readonly kysely: Kysely<Tables>
  /** Unix seconds; widened to whole hours. */
  readonly fromS: number
  readonly toS: number
  /** Only this device; `null` for all. */
  readonly device: string | null
  /** @param timeS - up to which the current devices are rebuilt */
  readonly onStep: (rebuilt: Rebuilt, timeS: number) => void
  readonly isStopping: () => boolean
}

export interface Rebuilt {
  readonly devices: number
  /** Of five minutes, written. */
  readonly buckets: number
  /** The range that was rebuilt, Unix seconds. */
  readonly fromS: number
  readonly toS: number
}

/**
 * Computes roll-ups anew, for readings that were written or changed past the gateway, and so left no marks. Each step
 * is a day of some devices in a transaction of its own, and a rest of the same length follows it. Buckets that are not
 * closed need no rebuild, and are left out.
 * @throws `VITAL_ROLLUPS_SEALED` where retention removed the readings of the whole range
 */
export async function rebuild (options: RebuildOptions): Promise<Rebuilt> {
  const { kysely, isStopping, onStep } = options
  const { sealedBefore, closedBefore } = await readState(kysely)
  if (options.toS <= sealedBefore) {
    throw new StorageError('VITAL_ROLLUPS_SEALED', 'The readings of that time were removed by retention, so its ' +
      `averages cannot be computed again; they stay as they are. Later than ${toIso(sealedBefore)} they can.`)
  }
  const fromS = Math.max(floorTo(options.fromS, HOUR_S), sealedBefore)
  const toS = Math.min(floorTo(options.toS - 1, HOUR_S) + HOUR_S, closedBefore)
  let rebuilt: Rebuilt = { devices: 0, buckets: 0, fromS, toS }
  let after = ''
  while (!isStopping()) {
    const devices = options.device === null ? await selectNextDevices(kysely, after) : [options.device]
    if (devices.length === 0) break
    const extent = await selectExtent(kysely, devices, fromS, toS)
    for (let dayS = extent.fromS; dayS < extent.toS && !isStopping();) {
      const endS = Math.min(floorTo(dayS, DAY_S) + DAY_S, extent.toS)
      const startMs = performance.now()
      const buckets = await rebuildDay(kysely, devices, dayS, endS)
      rebuilt = { ...rebuilt, buckets: rebuilt.buckets + buckets }
      onStep(rebuilt, endS)
      dayS = endS
      await sleep(performance.now() - startMs)
    }
    rebuilt = { ...rebuilt, devices: rebuilt.devices + devices.length }
    if (options.device !== null || devices.length < DEVICES_MAX) break
    after = devices.at(-1)!
  }
  return rebuilt
}

async function rebuildDay (
  kysely: Kysely<Tables>, devices: readonly string[], fromS: number, toS: number
): Promise<number> {
  const buckets = await inTurn(kysely, async ({ transaction, state }) => {
    // Retention may have gone on meanwhile.
    if (toS <= state.sealedBefore) return 0
    const startS = Math.max(fromS, state.sealedBefore)
    for (const table of ['rollups_5m', 'rollups_1h']) {
      await sql`
        delete from ${sql.table(table)} where device = any(${devices}::text[])
          and time >= to_timestamp(${startS}::float8) and time < to_timestamp(${toS}::float8)`.execute(transaction)
    }
    return await computeRange(transaction, await selectFilled(transaction, devices, startS, toS), startS, toS)
  }, { isPatient: true })
  return buckets ?? 0
}

/** The next devices that have readings or roll-ups, found by jumping from device to device in the key. */
async function selectNextDevices (kysely: Kysely<Tables>, after: string): Promise<string[]> {
  const next = (than: ReturnType<typeof sql>) => sql`least(
    (select device from readings where device > ${than} order by device limit 1),
    (select device from rollups_5m where device > ${than} order by device limit 1))`
  const { rows } = await sql<{ device: string }>`
    with recursive devices (device) as (
      select ${next(sql`${after}::text`)}
      union all
      select ${next(sql`devices.device`)} from devices where devices.device is not null
    )
    select device from devices where device is not null limit ${sql.lit(DEVICES_MAX)}`.execute(kysely)
  return rows.map(({ device }) => device)
}

/** Whole hours within [fromS, toS) that hold all readings and roll-ups of the devices. */
async function selectExtent (
  kysely: Kysely<Tables>, devices: readonly string[], fromS: number, toS: number
): Promise<{ readonly fromS: number, readonly toS: number }> {
  const edge = (table: string, direction: string) => sql`(
    select time from ${sql.table(table)} where device = looked.device
      and time >= to_timestamp(${fromS}::float8) and time < to_timestamp(${toS}::float8)
    order by device ${sql.raw(direction)}, time ${sql.raw(direction)} limit 1)`
  const { rows: [row] } = await sql<{ first: number | null, last: number }>`
    select extract(epoch from min(least(${edge('readings', 'asc')}, ${edge('rollups_5m', 'asc')})))::float8 as first,
      extract(epoch from max(greatest(${edge('readings', 'desc')}, ${edge('rollups_5m', 'desc')})))::float8 as last
    from unnest(${devices}::text[]) looked(device)`.execute(kysely)
  if (row === undefined || row.first === null) return { fromS: toS, toS }
  return { fromS: Math.max(fromS, floorTo(row.first, HOUR_S)), toS: Math.min(toS, floorTo(row.last, HOUR_S) + HOUR_S) }
}

const toIso = (unixS: number) => new Date(unixS * 1000).toISOString()
