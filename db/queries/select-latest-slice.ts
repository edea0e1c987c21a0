import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'
import type { LatestRow } from './resource-columns.ts'

/** A row with everything in it. */
export interface WholeRow extends LatestRow {
  readonly vitals: string
  readonly vitalTimestamps: string
}

export interface LatestSlice {
  /** Of the devices that exist, in the order of `devices`. */
  readonly rows: readonly WholeRow[]
  /** How many of `devices` were read, from the first on. */
  readonly devices: number
  /** Of the JSON of all rows. */
  readonly bytes: number
}

interface StepRow extends Omit<WholeRow, 'deviceId' | 'timestamp'> {
  readonly n: number
  /** `null`: the device does not exist. */
  readonly timestamp: number | null
}

/**
 * The whole latest states of `devices`, until `bytesMax` is reached; the row that reaches it is the last one.
 * PostgreSQL goes device by device and prints no value that is not returned, because the length of a text is not known
 * before.
 */
export async function selectLatestSlice (
  kysely: Kysely<Tables>, devices: readonly string[], bytesMax: number
): Promise<LatestSlice> {
  const { rows } = await sql<StepRow>`
    with recursive slice (n, timestamp, heart_rate, breath_rate, vitals, vital_times, bytes) as (
      select 0, null::float8, null::float8, null::float8, null::text, null::text, 0::bigint
      union all
      select n + 1, row.*, bytes + coalesce(octet_length(row.vitals) + octet_length(row.vital_times), 0)
      from slice left join lateral (
        select extract(epoch from time)::float8, heart_rate, breath_rate, vitals::text as vitals, vital_times::text as vital_times
        from latest where device = (${devices}::text[])[n + 1] offset 0
      ) row on true
      where n < ${devices.length}::int and bytes < ${bytesMax}::bigint
    )
    select n, timestamp, heart_rate as "heartRate", breath_rate as "breathRate", vitals, vital_times as "vitalTimestamps"
    from slice where n > 0 order by n`.execute(kysely)
  const found: WholeRow[] = []
  let bytes = 0
  for (const { n, timestamp, ...row } of rows) {
    if (timestamp === null) continue
    found.push({ ...row, deviceId: devices[n - 1]!, timestamp })
    // ASCII in all but names and texts; the count of UTF-16 units is near enough for a budget.
    bytes += row.vitals.length + row.vitalTimestamps.length
  }
  return { rows: found, devices: rows.at(-1)?.n ?? devices.length, bytes }
}
