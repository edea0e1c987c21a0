import { type Kysely, type RawBuilder, sql } from 'kysely'
import type { LatestQuery, Resource, ResourceList, SortKey } from '../../schemas/vital-data.ts'
import type { LatestTable, Tables } from '../tables.ts'

const COLUMNS: Readonly<Record<SortKey, keyof LatestTable>> = {
  deviceId: 'device',
  heartRate: 'heart_rate',
  breathRate: 'breath_rate',
  timestamp: 'time'
}

interface PageRow extends Omit<Resource, 'deviceId'> {
  readonly total: number
  /** `null` in the one row of a page past the end, which is there for its total. */
  readonly deviceId: string | null
}

/**
 * One page of the latest states, and how many devices there are, of one snapshot. Nulls come last in both directions; ties
 * are ordered by device, so that pages neither repeat nor skip a device while nothing changes.
 * By device it follows the key; there is no index for the other orders, on purpose (see the first migration): they read all
 * of `latest`.
 */
export async function selectLatest (kysely: Kysely<Tables>, query: LatestQuery): Promise<ResourceList> {
  const order = toOrder(query)
  // Only what decides is sorted; the rest is fetched for the page alone, for a deep page would sort it on disk.
  const { rows } = await sql<PageRow>`
    select counted.total, device as "deviceId", extract(epoch from l.time)::float8 as timestamp, heart_rate as "heartRate",
      breath_rate as "breathRate", vitals, vital_times as "vitalTimestamps"
    from (select coalesce(sum(devices), 0)::bigint as total from device_counts) counted
    left join (
      (select device from latest order by ${order} limit ${query.count} offset ${query.offset}) page
      join latest l using (device)
    ) on true
    order by ${order}`.execute(kysely)
  const resources: Resource[] = []
  for (const { total, deviceId, ...resource } of rows) {
    if (deviceId !== null) resources.push({ deviceId, ...resource })
  }
  return { total: rows[0]?.total ?? 0, resources }
}

/** NULLS LAST only where there can be nulls: it would keep PostgreSQL from following the key backwards. */
function toOrder ({ sortBy, orderBy }: LatestQuery): RawBuilder<unknown> {
  const direction = sql.raw(orderBy)
  if (sortBy === 'deviceId') return sql`device ${direction}`
  const column = sql.ref(COLUMNS[sortBy])
  return sortBy === 'timestamp' ? sql`${column} ${direction}, device` : sql`${column} ${direction} nulls last, device`
}
