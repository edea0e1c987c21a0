import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'
import { BUCKET_COLUMNS, COLUMN_LIST, signValues, SUMS_OF_BUCKETS, SUMS_OF_READINGS } from './sign-columns.ts'

/** The result of comparing stored averages with recomputed ones. */
export interface SampleResult {
  readonly fives: number
  readonly hours: number
  /** Buckets that differ, or are missing, with one of them. */
  readonly wrong: number
  readonly example: { readonly device: string, readonly timeS: number } | null
}

const isDifferent = sql.raw(`(${BUCKET_COLUMNS.map((column) => `computed.${column}`).join(', ')}) is distinct from
  (${BUCKET_COLUMNS.map((column) => `stored.${column}`).join(', ')})`)

/**
 * Computes some buckets of five minutes and of an hour again: as many that hold a reading drawn at random as buckets
 * that are drawn at random themselves. Buckets that are open, marked, not built or final are left out. One statement,
 * so one snapshot.
 */
export async function compareSample (kysely: Kysely<Tables>, bucketsMax: number): Promise<SampleResult> {
  const { rows: [row] } = await sql<{
    fives: number, hours: number, wrong: number, device: string | null, timeS: number | null
  }>`
    with drawn as materialized (
      (select device, date_bin(interval '5 minutes', time, timestamptz 'epoch') as time from readings, rollup_state
       where time >= greatest(built_from, sealed_before) and time < closed_before order by random() limit ${bucketsMax}::int)
      union
      (select device, time from rollups_5m, rollup_state
       where time >= greatest(built_from, sealed_before) and time < closed_before order by random() limit ${bucketsMax}::int)
    ), buckets as materialized (
      select device, time from drawn
      where not exists (select from rollup_late where rollup_late.device = drawn.device and rollup_late.time = drawn.time)
    ), hours as materialized (
      select distinct device, date_bin(interval '1 hour', time, timestamptz 'epoch') as time from buckets, rollup_state
      where date_bin(interval '1 hour', time, timestamptz 'epoch') + interval '1 hour' <= closed_before
        and not exists (select from rollup_late where rollup_late.device = buckets.device
          and rollup_late.time >= date_bin(interval '1 hour', buckets.time, timestamptz 'epoch')
          and rollup_late.time < date_bin(interval '1 hour', buckets.time, timestamptz 'epoch') + interval '1 hour')
    ), compared as (
      select 'five' as size, buckets.device, buckets.time, ${isDifferent} as is_wrong
      from buckets cross join lateral (
        select ${SUMS_OF_READINGS} from (
          select ${signValues(true)} from readings where device = buckets.device
            and readings.time >= buckets.time and readings.time < buckets.time + interval '5 minutes'
          order by readings.time, hash) held) computed (${COLUMN_LIST})
      left join rollups_5m stored using (device, time)
      union all
      select 'hour', hours.device, hours.time, ${isDifferent}
      from hours cross join lateral (
        select ${SUMS_OF_BUCKETS} from (
          select * from rollups_5m fives where fives.device = hours.device
            and fives.time >= hours.time and fives.time < hours.time + interval '1 hour' order by fives.time) held
      ) computed (${COLUMN_LIST})
      left join rollups_1h stored using (device, time)
    )
    select count(*) filter (where size = 'five') as fives, count(*) filter (where size = 'hour') as hours,
      count(*) filter (where is_wrong) as wrong,
      min(device) filter (where is_wrong) as device,
      extract(epoch from min(time) filter (where is_wrong))::float8 as "timeS"
    from compared`.execute(kysely)
  const { fives, hours, wrong, device, timeS } = row!
  return { fives, hours, wrong, example: device === null || timeS === null ? null : { device, timeS } }
}
