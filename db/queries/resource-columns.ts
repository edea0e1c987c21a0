import { sql } from 'kysely'

/**
 * The values that decide a device's place on sorted pages. Times are Unix seconds; `null` where the field was never
 * sent.
 */
export interface OrderKeys {
  readonly device: string
  readonly time: number
  readonly heartRate: number | null
  readonly heartRateTime: number | null
  readonly breathRate: number | null
  readonly breathRateTime: number | null
  /** Of `breathValue`, the older name. */
  readonly breathValueTime: number | null
}

/**
 * A device's latest state as it leaves PostgreSQL: JSON as text. Every digit is kept, and values that are only passed
 * on are not parsed.
 */
export interface LatestRow {
  readonly deviceId: string
  /** Unix seconds. */
  readonly timestamp: number
  readonly heartRate: number | null
  readonly breathRate: number | null
  /** JSON; `null` where it is large, and `selectLatestSlice` has to read it. */
  readonly vitals: string | null
  /** JSON: Unix seconds by field of `vitals`; `null` together with it. */
  readonly vitalTimestamps: string | null
}

/** The same with the times by which the order in memory is corrected. */
export interface OrderedRow extends LatestRow, Omit<OrderKeys, 'device' | 'time' | 'heartRate' | 'breathRate'> {}

/** One page, and how many devices there are in all. */
export interface LatestPage<Row extends LatestRow = LatestRow> {
  readonly total: number
  readonly resources: readonly Row[]
}

/** Bytes of `vitals` and `vital_times` as stored. Beyond some 2,000 PostgreSQL tries to compress them. */
const SMALL_BYTES_MAX = 4096

/**
 * A row of `latest` as {@link LatestRow}, of the alias `l`. Times leave as float8, which holds microseconds exactly
 * until the year 2255; a `Date` would cut them to milliseconds. Small values are included, large or compressed ones are
 * not: a compressed value may become a thousand times as large, and 1e308 alone is 12 bytes stored and 309 printed.
 * Size and compression are known without reading the value.
 */
export const RESOURCE_COLUMNS = sql`
  l.device as "deviceId", extract(epoch from l.time)::float8 as timestamp, l.heart_rate as "heartRate", l.breath_rate as "breathRate",
  case when small.it_is then l.vitals::text end as vitals, case when small.it_is then l.vital_times::text end as "vitalTimestamps"`

/** Beside {@link RESOURCE_COLUMNS}, for {@link OrderedRow}. */
export const ORDER_COLUMNS = sql`
  (l.vital_times->'heartRateValue')::float8 as "heartRateTime",
  (l.vital_times->'breathRateValue')::float8 as "breathRateTime",
  (l.vital_times->'breathValue')::float8 as "breathValueTime"`

/** Joined laterally behind `l`. */
export const SMALL = sql`(select pg_column_size(l.vitals) + pg_column_size(l.vital_times) <= ${sql.lit(SMALL_BYTES_MAX)}
  and pg_column_compression(l.vitals) is null and pg_column_compression(l.vital_times) is null as it_is) small`
