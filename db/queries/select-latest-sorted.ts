import { type Kysely, type RawBuilder, sql } from 'kysely'
import type { Tables } from '../tables.ts'
import {
  isFiltered, type LatestSearch, type Snapshot, SNAPSHOT_COLUMNS, type SnapshotRow, SORT_COLUMNS, toBehind, toFilter,
  toSnapshot
} from './latest-search.ts'
import { type LatestPage, type LatestRow, RESOURCE_COLUMNS, SMALL } from './resource-columns.ts'
import { toPage } from './select-latest.ts'

/** With the total. `deviceId` is `null` in the one row of a page past the end, which carries only the total. */
type PageRow = LatestRow & SnapshotRow & { readonly total: number, readonly deviceId: string | null }

/** A page that PostgreSQL sorted. */
export interface SelectedPage extends LatestPage {
  /** More devices follow. */
  readonly hasMore: boolean
  readonly snapshot: Snapshot
}

/**
 * `GET /vital-data` by device id, and by the other keys while the order in memory cannot be trusted; otherwise
 * `select-latest.ts` answers. One page of the latest states, and how many devices match, of one snapshot. Nulls
 * come last in both directions; ties are ordered by device, so that pages neither repeat nor skip a device while
 * nothing changes. By device it follows the key. The other orders have no index on purpose (see the first migration):
 * they read all of `latest`, and so does the total of a filter.
 */
export async function selectLatestSorted (kysely: Kysely<Tables>, search: LatestSearch): Promise<SelectedPage> {
  const { count, offset } = search
  const filter = toFilter(search)
  const total = isFiltered(search)
    ? sql`select count(*) as total from latest l where ${filter}`
    : sql`select coalesce(sum(devices), 0)::bigint as total from device_counts`
  // Only the sort columns are sorted. The rest is fetched for the page alone: a deep page would sort it on disk.
  const { rows } = await sql<PageRow>`
    select counted.total, ${SNAPSHOT_COLUMNS}, ${RESOURCE_COLUMNS}
    from (${total}) counted
    left join (
      (select l.device from latest l where ${filter} and ${toBehind(search)}
        order by ${toOrder(search)} limit ${count + 1} offset ${offset}) page
      join latest l using (device) cross join lateral ${SMALL}
    ) on true
    order by ${toOrder(search)}`.execute(kysely)
  const page = toPage(rows)
  return {
    ...page,
    resources: page.resources.slice(0, count),
    hasMore: page.resources.length > count,
    snapshot: toSnapshot(rows[0]!)
  }
}

/** NULLS LAST only where there can be nulls: it would keep PostgreSQL from following the key backwards. */
function toOrder ({ sortBy, orderBy }: LatestSearch): RawBuilder<unknown> {
  const direction = sql.raw(orderBy)
  if (sortBy === 'deviceId') return sql`l.device ${direction}`
  const column = sql.raw(`l.${SORT_COLUMNS[sortBy]}`)
  return sortBy === 'timestamp'
    ? sql`${column} ${direction}, l.device`
    : sql`${column} ${direction} nulls last, l.device`
}
