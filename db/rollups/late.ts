import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'
import { type Buckets, computeFiveMinutes, computeHours, givenBuckets } from './compute.ts'
import { floorTo, HOUR_S, inTurn, type Turn } from './turn.ts'

/** A bucket of five minutes that has a mark. */
export interface LateBucket {
  readonly device: string
  /** Unix seconds. */
  readonly timeS: number
}

export interface LateWork {
  /** Computed anew. */
  readonly buckets: number
  /** Marks of buckets that are final, and stay as they are. */
  readonly sealed: number
  /** The last bucket that was examined; `null`: no more follow. */
  readonly last: LateBucket | null
}

export interface LateOptions {
  /** The last bucket of the chunk before; `null` begins anew. */
  readonly after: LateBucket | null
  readonly bucketsMax: number
  /** Only buckets that begin before, Unix seconds. */
  readonly beforeS?: number
  /** Waits for its turn, instead of leaving the work to another process. */
  readonly isPatient?: boolean
  /** Called once the marks are deleted, and before COMMIT. */
  readonly onDeleted: () => Promise<void>
  readonly onComputed: () => Promise<void>
}

/**
 * Computes marked buckets anew. The marks are deleted in a statement before, so a mark that is committed in between
 * stays, and its bucket is computed once more.
 * @returns `null` when another process has the turn
 */
export async function recomputeLate (
  kysely: Kysely<Tables>, { after, bucketsMax, beforeS = Infinity, isPatient = false, onDeleted, onComputed }: LateOptions
): Promise<LateWork | null> {
  return await inTurn(kysely, async (turn) => {
    const { transaction, state: { sealedBefore } } = turn
    const late = await selectLate(turn, after, bucketsMax, beforeS)
    const last = late.length < bucketsMax ? null : late.at(-1)!
    if (late.length === 0) return { buckets: 0, sealed: 0, last }
    await sql`
      delete from rollup_late marks using ${toBuckets(late)} buckets
      where marks.device = buckets.device and marks.time = buckets.time`.execute(transaction)
    await onDeleted()
    const open = late.filter(({ timeS }) => timeS >= sealedBefore)
    await recompute(transaction, open)
    await onComputed()
    return { buckets: open.length, sealed: late.length - open.length, last }
  }, { isPatient })
}

/**
 * Hours that are not over are computed too: closing finds the devices of an hour by their newest reading, and would
 * miss a device whose only reading in it was ahead of its receipt.
 */
async function recompute (transaction: Kysely<Tables>, late: readonly LateBucket[]): Promise<void> {
  if (late.length === 0) return
  await computeFiveMinutes(transaction, toBuckets(late))
  await computeHours(transaction, toBuckets(toHours(late)))
}

/** Marks of buckets that are not closed, or not built yet, have to wait. */
async function selectLate (
  { transaction, state: { builtFrom, closedBefore } }: Turn, after: LateBucket | null, bucketsMax: number, beforeS: number
): Promise<LateBucket[]> {
  const { rows } = await sql<LateBucket>`
    select distinct device, extract(epoch from time)::float8 as "timeS" from rollup_late
    where (device, time) > (${after?.device ?? ''}, to_timestamp(${after?.timeS ?? -Infinity}::float8))
      and time >= to_timestamp(${builtFrom}::float8) and time < to_timestamp(${Math.min(closedBefore, beforeS)}::float8)
    order by device, "timeS" limit ${bucketsMax}::int`.execute(transaction)
  return rows
}

function toBuckets (buckets: readonly LateBucket[]): Buckets {
  return givenBuckets(buckets.map(({ device }) => device), buckets.map(({ timeS }) => timeS))
}

/** The hours of the buckets, each once. Buckets come ordered by device and time. */
function toHours (buckets: readonly LateBucket[]): LateBucket[] {
  const hours: LateBucket[] = []
  for (const { device, timeS } of buckets) {
    const hourS = floorTo(timeS, HOUR_S)
    const last = hours.at(-1)
    if (last?.device !== device || last.timeS !== hourS) hours.push({ device, timeS: hourS })
  }
  return hours
}
