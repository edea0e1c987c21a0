import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'

/** Rows that PostgreSQL holds of a device. Times are Unix seconds, `null` without readings. */
export interface DeviceHoldings {
  readonly readings: number
  readonly firstAt: number | null
  readonly lastAt: number | null
  readonly deadLetters: number
}

export async function describeDevice (kysely: Kysely<Tables>, device: string): Promise<DeviceHoldings> {
  const { rows: [row] } = await sql<DeviceHoldings>`
    select count(*) as readings, extract(epoch from min(time))::float8 as "firstAt", extract(epoch from max(time))::float8 as "lastAt",
      (select count(*) from dead_letters where device = ${device}) as "deadLetters"
    from readings where device = ${device}`.execute(kysely)
  return row!
}
