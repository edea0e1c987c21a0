import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'
import { type LatestPage, ORDER_COLUMNS, type OrderedRow, RESOURCE_COLUMNS, SMALL } from './resource-columns.ts'

/** With the total. `deviceId` is `null` in the one row that comes where none of the devices exists. */
type Row = OrderedRow & { readonly total: number, readonly deviceId: string | null }

/**
 * `GET /vital-data` by default: the rows of a page that was picked in memory (src/reads/latest-order), in no order, and
 * how many devices there are in all. Other pages come from `select-latest-sorted.ts`, or with `VITAL_LATEST_CACHE=redis`
 * from Redis.
 * @param devices - those that do not exist are left out
 */
export async function selectLatest (
  kysely: Kysely<Tables>, devices: readonly string[]
): Promise<LatestPage<OrderedRow>> {
  const { rows } = await sql<Row>`
    select counted.total, ${RESOURCE_COLUMNS}, ${ORDER_COLUMNS}
    from (select coalesce(sum(devices), 0)::bigint as total from device_counts) counted
    left join (latest l cross join lateral ${SMALL}) on l.device = any(${devices}::text[])`.execute(kysely)
  return toPage(rows)
}

/** Separates the rows from the total, which each of them carries. */
export function toPage<Row extends { readonly deviceId: string | null, readonly total: number }> (
  rows: readonly Row[]
) {
  const resources: Array<Omit<Row, 'total' | 'deviceId'> & { readonly deviceId: string }> = []
  for (const { total, deviceId, ...resource } of rows) {
    if (deviceId !== null) resources.push({ deviceId, ...resource })
  }
  return { total: rows[0]?.total ?? 0, resources }
}
