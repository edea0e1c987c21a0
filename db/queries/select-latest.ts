import { type Kysely, type RawBuilder, sql } from 'kysely'
import type { LatestQuery, SortKey } from '../../schemas/vital-data.ts'
import type { LatestTable, Tables } from '../tables.ts'
import { type LatestPage, type LatestRow, RESOURCE_COLUMNS, SMALL } from './resource-columns.ts'
import { toPage } from './select-latest-of.ts'

const COLUMNS: Readonly<Record<SortKey, keyof LatestTable>> = {
  deviceId: 'device',
  heartRate: 'heart_rate',
  breathRate: 'breath_rate',
  timestamp: 'time'
}

/** With the total; `null` in the one row of a page past the end, which is there for it. */
type PageRow = LatestRow & { readonly total: number, readonly deviceId: string | null }

/**
 * `GET /vital-data` by device id, and by the other keys while the order in memory cannot be trusted; else
 * `select-latest-of.ts` answers. One page of the latest states, and how many devices there are, of one snapshot. Nulls
 * come last in both directions; ties are ordered by device, so that pages neither repeat nor skip a device while
 * nothing changes. By device it follows the key; there is no index for the other orders, on purpose (see the first
 * migration): they read all of `latest`.
 */
export async function selectLatest (kysely: Kysely<Tables>, query: LatestQuery): Promise<LatestPage> {
  // Only what decides is sorted; the rest is fetched for the page alone, for a deep page would sort it on disk.
  const { rows } = await sql<PageRow>`
    select counted.total, ${RESOURCE_COLUMNS}
    from (select coalesce(sum(devices), 0)::bigint as total from device_counts) counted
    left join (
      (select device from latest order by ${toOrder(query, '')} limit ${query.count} offset ${query.offset}) page
      join latest l using (device) cross join lateral ${SMALL}
    ) on true
    order by ${toOrder(query, 'l.')}`.execute(kysely)
  return toPage(rows)
}

/** NULLS LAST only where there can be nulls: it would keep PostgreSQL from following the key backwards. */
function toOrder ({ sortBy, orderBy }: LatestQuery, of: 'l.' | ''): RawBuilder<unknown> {
  const direction = sql.raw(orderBy)
  const device = sql.raw(`${of}device`)
  if (sortBy === 'deviceId') return sql`${device} ${direction}`
  const column = sql.raw(`${of}${COLUMNS[sortBy]}`)
  return sortBy === 'timestamp'
    ? sql`${column} ${direction}, ${device}`
    : sql`${column} ${direction} nulls last, ${device}`
}
