import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'

/** What decides where a device stands on sorted pages. Times are Unix seconds; `null` where the field was never sent. */
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

/** The next `count` devices by key, in the order of their ids' UTF-8 bytes, as a device id sorts by collate "C". */
export async function selectOrderKeys (kysely: Kysely<Tables>, after: string, count: number): Promise<readonly OrderKeys[]> {
  const { rows } = await sql<OrderKeys>`
    select device, extract(epoch from time)::float8 as time, heart_rate as "heartRate", breath_rate as "breathRate",
      (vital_times->'heartRateValue')::float8 as "heartRateTime",
      (vital_times->'breathRateValue')::float8 as "breathRateTime",
      (vital_times->'breathValue')::float8 as "breathValueTime"
    from latest where device > ${after} order by device limit ${count}`.execute(kysely)
  return rows
}
