import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'
import type { Chunk } from './closing.ts'
import { computeFiveMinutes, computeHours, everyBucket, filledBuckets } from './compute.ts'
import { DAY_S, floorTo, HOUR_S, inTurn, type RollupState, writeState } from './turn.ts'

/** A gap without readings is passed in steps that double up to this, so that each is one look at few pages. */
const GAP_MAX_S = 4096 * DAY_S

/**
 * Rolls up readings that were stored before there were roll-ups: the next devices of the newest day that is not built
 * yet, from now backwards.
 * @returns `null` when another process has the turn; no devices when nothing is left
 */
export async function buildChunk (
  kysely: Kysely<Tables>, devicesMax: number, onComputed: () => Promise<void>
): Promise<Chunk | null> {
  return await inTurn(kysely, async ({ transaction, state }) => {
    if (state.builtFrom === -Infinity) return { devices: 0, isLast: true }
    const toS = state.builtDevice === '' ? await findNewest(transaction, state) : state.builtFrom
    if (toS === -Infinity) {
      await writeState(transaction, { builtFrom: -Infinity })
      return { devices: 0, isLast: true }
    }
    const fromS = floorTo(toS - 1, DAY_S)
    const looked = await selectDevices(transaction, state.builtDevice, devicesMax)
    await computeRange(transaction, await selectFilled(transaction, looked, fromS, toS), fromS, toS)
    const isLast = looked.length < devicesMax
    await writeState(transaction, isLast
      ? { builtFrom: fromS, builtDevice: '' }
      : { builtFrom: toS, builtDevice: looked.at(-1)! })
    await onComputed()
    return { devices: looked.length, isLast }
  })
}

/**
 * Computes both sizes of buckets of some devices in [fromS, toS), where `fromS` begins an hour. A last hour that is not
 * over is computed too, and closing computes it once more where it finds the device, see `late.ts`.
 * @returns buckets of five minutes that were written
 */
export async function computeRange (
  transaction: Kysely<Tables>, devices: readonly string[], fromS: number, toS: number
): Promise<number> {
  if (devices.length === 0) return 0
  const buckets = await computeFiveMinutes(transaction, filledBuckets(devices, fromS, toS))
  await computeHours(transaction, everyBucket(devices, fromS, toS, HOUR_S))
  return buckets
}

/** Those of `devices` that have a reading in [fromS, toS). */
export async function selectFilled (
  transaction: Kysely<Tables>, devices: readonly string[], fromS: number, toS: number
): Promise<string[]> {
  if (devices.length === 0) return []
  const { rows } = await sql<{ device: string }>`
    select device from unnest(${devices}::text[]) looked(device) where exists (
      select from readings where readings.device = looked.device
        and time >= to_timestamp(${fromS}::float8) and time < to_timestamp(${toS}::float8))`.execute(transaction)
  return rows.map(({ device }) => device)
}

/** @returns the end of the newest day before `builtFrom` that has readings; `-Infinity` where there is none */
async function findNewest (transaction: Kysely<Tables>, { builtFrom }: RollupState): Promise<number> {
  const holds = async (fromS: number, toS: number) => {
    const { rows } = await sql`
      select from readings where time >= to_timestamp(${fromS}::float8) and time < to_timestamp(${toS}::float8) limit 1`
      .execute(transaction)
    return rows.length > 0
  }
  if (!await holds(-Infinity, builtFrom)) return -Infinity
  let toS = builtFrom
  let stepS = DAY_S
  while (!await holds(floorTo(toS - stepS, DAY_S), toS)) {
    toS = floorTo(toS - stepS, DAY_S)
    stepS = Math.min(stepS * 2, GAP_MAX_S)
  }
  while (stepS > DAY_S) {
    stepS /= 2
    if (!await holds(floorTo(toS - stepS, DAY_S), toS)) toS = floorTo(toS - stepS, DAY_S)
  }
  return toS
}

/** `latest` names every device; devices whose rows were written past the gateway need a rebuild. */
async function selectDevices (transaction: Kysely<Tables>, after: string, devicesMax: number): Promise<string[]> {
  const { rows } = await sql<{ device: string }>`
    select device from latest where device > ${after} order by device limit ${devicesMax}::int`.execute(transaction)
  return rows.map(({ device }) => device)
}
