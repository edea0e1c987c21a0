import { type Kysely, type RawBuilder, sql } from 'kysely'
import { isNotANumber } from '../sqlstate.ts'
import type { Tables } from '../tables.ts'
import { COLUMN_LIST, COLUMN_UPDATES, signValues, SUMS_OF_BUCKETS, SUMS_OF_READINGS } from './sign-columns.ts'

/**
 * Buckets to compute, as a table of `device` and `time`.
 *
 * Each is one scan of a key's range, in the order of the key, and one plain aggregate: nothing is sorted or hashed, and
 * the first and the last value come from the order.
 */
export type Buckets = RawBuilder<unknown>

/** Every bucket of `sizeS` seconds in [fromS, toS), Unix seconds, of each device. */
export function everyBucket (devices: readonly string[], fromS: number, toS: number, sizeS: number): Buckets {
  return sql`(select device, to_timestamp(start::float8) as time from unnest(${devices}::text[]) device
    cross join generate_series(${fromS}::bigint, ${toS - 1}::bigint, ${sizeS}::bigint) start)`
}

/** The buckets of five minutes in [fromS, toS) in which a device has a reading. */
export function filledBuckets (devices: readonly string[], fromS: number, toS: number): Buckets {
  return sql`(select devices.device, filled.time from unnest(${devices}::text[]) devices(device) cross join lateral (
    select distinct date_bin(interval '5 minutes', time, timestamptz 'epoch') as time from readings
    where readings.device = devices.device and time >= to_timestamp(${fromS}::float8) and time < to_timestamp(${toS}::float8)) filled)`
}

/** @param times - Unix seconds at which they begin, one for each of `devices` */
export function givenBuckets (devices: readonly string[], times: readonly number[]): Buckets {
  return sql`(select device, to_timestamp(start) as time from unnest(${devices}::text[], ${times}::float8[]) given(device, start))`
}

/**
 * Computes buckets of five minutes from `readings`. A bucket without readings gets no row, but keeps one that it has: a
 * caller deletes the rows first where readings may have been removed.
 * @returns rows written
 */
export async function computeFiveMinutes (transaction: Kysely<Tables>, buckets: Buckets): Promise<number> {
  const compute = (isGuarded: boolean) => insertInto('rollups_5m', buckets, sql`
    select ${SUMS_OF_READINGS} from (
      select ${signValues(isGuarded)} from readings
      where device = buckets.device and time >= buckets.time and time < buckets.time + interval '5 minutes'
      order by time, hash) readings
    having count(*) > 0`).execute(transaction)
  await sql`savepoint unguarded`.execute(transaction)
  try {
    return toCount(await compute(false))
  } catch (error) {
    if (!isNotANumber(error)) throw error
    await sql`rollback to savepoint unguarded`.execute(transaction)
    return toCount(await compute(true))
  }
}

/** Computes buckets of an hour from those of five minutes. */
export async function computeHours (transaction: Kysely<Tables>, buckets: Buckets): Promise<void> {
  await insertInto('rollups_1h', buckets, sql`
    select ${SUMS_OF_BUCKETS} from (
      select * from rollups_5m
      where device = buckets.device and time >= buckets.time and time < buckets.time + interval '1 hour'
      order by time) fives
    having count(*) > 0`).execute(transaction)
}

const toCount = ({ numAffectedRows = 0n }: { readonly numAffectedRows?: bigint }) => Number(numAffectedRows)

function insertInto (table: string, buckets: Buckets, sums: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`
    insert into ${sql.table(table)} (device, time, ${COLUMN_LIST})
    select buckets.device, buckets.time, sums.*
    from ${buckets} buckets cross join lateral (${sums}) sums
    on conflict (device, time) do update set ${COLUMN_UPDATES}`
}
