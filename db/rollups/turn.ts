import { type Kysely, sql, type Transaction } from 'kysely'
import type { Tables } from '../tables.ts'

export const FIVE_MINUTES_S = 300
export const HOUR_S = 3600
export const DAY_S = 86_400

/** Key of the advisory lock under which gateways take turns; after those of partitions.ts and retention.ts. */
const ADVISORY_LOCK = 0x766974616e

/** The one row of `rollup_state`. Times are Unix seconds, whole buckets. */
export interface RollupState {
  /** Readings from here on need no mark: their bucket is open. */
  readonly openFrom: number
  /** Buckets before it are computed, back to `builtFrom`. */
  readonly closedBefore: number
  /** Of the buckets that are being closed, the devices up to this one are computed. */
  readonly closedDevice: string
  /** Readings before it wait to be rolled up; `-Infinity` once none does. */
  readonly builtFrom: number
  readonly builtDevice: string
  /** Roll-ups before it are final: their readings are gone. */
  readonly sealedBefore: number
}

/** One transaction of the worker, and the state that it found. */
export interface Turn {
  readonly transaction: Transaction<Tables>
  readonly state: RollupState
}

/**
 * Runs one step of the deferred work in a transaction of its own, under the lock that all gateways, an erasure and a
 * rebuild share. A step that fails leaves everything as it was.
 * @returns `null` when another process has the turn
 */
export async function inTurn<T> (
  kysely: Kysely<Tables>, step: (turn: Turn) => Promise<T>, { isPatient = false } = {}
): Promise<T | null> {
  return await kysely.transaction().execute(async (transaction) => {
    if (isPatient) await takeTurn(transaction)
    else if (!await tryTurn(transaction)) return null
    return await step({ transaction, state: await readState(transaction) })
  })
}

/** Waits until no step is under way; none begins until the transaction has ended. */
export async function takeTurn (transaction: Transaction<Tables>): Promise<void> {
  await sql`select pg_advisory_xact_lock(${sql.lit(ADVISORY_LOCK)})`.execute(transaction)
}

async function tryTurn (transaction: Transaction<Tables>): Promise<boolean> {
  const { rows: [row] } = await sql<{ isOurs: boolean }>`
    select pg_try_advisory_xact_lock(${sql.lit(ADVISORY_LOCK)}) as "isOurs"`.execute(transaction)
  return row?.isOurs === true
}

export async function readState (kysely: Kysely<Tables>): Promise<RollupState> {
  const { rows: [state] } = await sql<RollupState>`
    select extract(epoch from open_from)::float8 as "openFrom",
      extract(epoch from closed_before)::float8 as "closedBefore",
      closed_device as "closedDevice", extract(epoch from built_from)::float8 as "builtFrom",
      built_device as "builtDevice", extract(epoch from sealed_before)::float8 as "sealedBefore"
    from rollup_state`.execute(kysely)
  if (state === undefined) throw new Error('rollup_state has lost its row')
  return state
}

/** Changes the columns given. */
export async function writeState (
  transaction: Kysely<Tables>, state: Partial<RollupState>
): Promise<void> {
  const { openFrom, closedBefore, closedDevice, builtFrom, builtDevice, sealedBefore } = state
  const time = (seconds: number | undefined) => sql`to_timestamp(${seconds ?? null}::float8)`
  await sql`
    update rollup_state set
      open_from = coalesce(${time(openFrom)}, open_from),
      closed_before = coalesce(${time(closedBefore)}, closed_before),
      closed_device = coalesce(${closedDevice ?? null}, closed_device),
      built_from = coalesce(${time(builtFrom)}, built_from),
      built_device = coalesce(${builtDevice ?? null}, built_device),
      sealed_before = coalesce(${time(sealedBefore)}, sealed_before)`.execute(transaction)
}

/** The start of the bucket of `sizeS` seconds that holds `timeS`. */
export function floorTo (timeS: number, sizeS: number): number {
  return Math.floor(timeS / sizeS) * sizeS
}
