import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'
import { ORDER_COLUMNS, type OrderKeys } from './resource-columns.ts'

/** The next `count` devices by key, in the order of their ids' UTF-8 bytes, as a device id sorts by collate "C". */
export async function selectOrderKeys (
  kysely: Kysely<Tables>, after: string, count: number
): Promise<readonly OrderKeys[]> {
  const { rows } = await sql<OrderKeys>`
    select device, extract(epoch from time)::float8 as time, heart_rate as "heartRate", breath_rate as "breathRate", ${ORDER_COLUMNS}
    from latest l where device > ${after} order by device limit ${count}`.execute(kysely)
  return rows
}
