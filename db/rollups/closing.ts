/**
 * Closing: computes the buckets whose time has passed.
 *
 *   open_from advances, and is committed
 *     └──> every transaction that was writing then has ended
 *            └──> the buckets are computed, some devices a step, and closed_before follows
 *
 * A batch tells the database, last of all, that its oldest reading without a mark is not before `open_from`
 * (`late-marks.ts`). A batch that says so after the advance was committed fails, and comes again with marks. One
 * that said so before was writing at the advance, and is waited for. So no reading reaches a computed bucket without a
 * mark.
 *
 * Only transactions that write readings are waited for: a transaction that idles in another database, or one that only
 * reads, would hold back `pg_snapshot_xmin` for as long as it lasts.
 */
import { type Kysely, sql } from 'kysely'
import { selectWriters } from '../queries/select-writers.ts'
import type { Tables } from '../tables.ts'
import { computeFiveMinutes, computeHours, everyBucket } from './compute.ts'
import { FIVE_MINUTES_S, floorTo, HOUR_S, inTurn, type RollupState, type Turn, writeState } from './turn.ts'

/** Readings that are under way at the end of a bucket still come in time; a later one costs a mark and a recomputation. */
const CLOSE_AFTER_S = 30

/**
 * Moves `open_from` to the newest bucket that is over, once everything before it is computed.
 * @param nowS - the gateway's clock. The earlier one of this and PostgreSQL's counts: with an `open_from` in the future
 *   every reading would be a late one.
 * @returns whether it moved
 */
export async function advance (kysely: Kysely<Tables>, nowS: number): Promise<boolean | null> {
  return await inTurn(kysely, async ({ transaction, state }) => {
    if (state.closedBefore < state.openFrom) return false
    const { rows: [row] } = await sql<{ nowS: number }>`
      select extract(epoch from now())::float8 as "nowS"`.execute(transaction)
    const openFrom = floorTo(Math.min(nowS, row!.nowS) - CLOSE_AFTER_S, FIVE_MINUTES_S)
    if (openFrom <= state.openFrom) return false
    await writeState(transaction, { openFrom })
    return true
  })
}

/** The transactions that have to end before buckets up to `openFrom` are computed. */
export interface Awaited {
  readonly openFrom: number
  readonly writers: ReadonlySet<string>
}

/**
 * @param before - of the last call; writers that have begun since need not be waited for
 * @param openFrom - as it was committed before this call
 */
export async function awaitWriters (
  kysely: Kysely<Tables>, before: Awaited | null, openFrom: number
): Promise<Awaited> {
  const now = await selectWriters(kysely)
  if (before === null || before.openFrom !== openFrom) return { openFrom, writers: now }
  return { openFrom, writers: new Set([...before.writers].filter((id) => now.has(id))) }
}

export interface Chunk {
  readonly devices: number
  /** Whether it was the last one of its range. */
  readonly isLast: boolean
}

/**
 * Computes the next devices of the oldest buckets that are not computed yet, an hour of them at most.
 * @param awaited - with no writers left
 * @param onComputed - called before COMMIT
 * @returns `null` when another process has the turn; no devices when nothing is to be computed
 */
export async function closeChunk (
  kysely: Kysely<Tables>, awaited: Awaited, devicesMax: number, onComputed: () => Promise<void>
): Promise<Chunk | null> {
  return await inTurn(kysely, async ({ transaction, state }) => {
    if (state.openFrom !== awaited.openFrom || state.closedBefore >= state.openFrom) return { devices: 0, isLast: true }
    if (state.closedDevice === '' && await isIdle(transaction, state)) {
      await writeState(transaction, { closedBefore: state.openFrom })
      return { devices: 0, isLast: true }
    }
    const { fromS, toS, sinceS } = toRange(state)
    const devices = await selectActive({ transaction, state }, sinceS, devicesMax)
    if (devices.length > 0) {
      await computeFiveMinutes(transaction, everyBucket(devices, fromS, toS, FIVE_MINUTES_S))
      if (sinceS + HOUR_S === toS) {
        await computeHours(transaction, everyBucket(devices, sinceS, toS, HOUR_S))
      }
    }
    const isLast = devices.length < devicesMax
    await writeState(transaction, isLast
      ? { closedBefore: toS, closedDevice: '' }
      : { closedDevice: devices.at(-1)! })
    await onComputed()
    return { devices: devices.length, isLast }
  })
}

/** @returns `sinceS`: devices with a reading since then take part, from the whole hour when the range completes it */
function toRange ({ closedBefore, openFrom }: RollupState) {
  const hourS = floorTo(closedBefore, HOUR_S)
  const toS = Math.min(hourS + HOUR_S, openFrom)
  return { fromS: closedBefore, toS, sinceS: toS === hourS + HOUR_S ? hourS : closedBefore }
}

/** Whether hours have passed without a reading, as when the gateway was stopped: they are skipped at once. */
async function isIdle (transaction: Kysely<Tables>, { closedBefore, openFrom }: RollupState): Promise<boolean> {
  if (openFrom - closedBefore <= HOUR_S) return false
  const fromS = floorTo(closedBefore, HOUR_S)
  const { rows } = await sql`
    select from readings
    where time >= to_timestamp(${fromS}::float8) and time < to_timestamp(${openFrom}::float8) limit 1`.execute(transaction)
  return rows.length === 0
}

/**
 * A device whose newest reading is older has none in the range. (A reading ahead of its receipt does not break this:
 * it has a mark.)
 */
async function selectActive (
  { transaction, state }: Turn, sinceS: number, devicesMax: number
): Promise<string[]> {
  const { rows } = await sql<{ device: string }>`
    select device from latest where device > ${state.closedDevice} and time >= to_timestamp(${sinceS}::float8)
    order by device limit ${devicesMax}::int`.execute(transaction)
  return rows.map(({ device }) => device)
}
