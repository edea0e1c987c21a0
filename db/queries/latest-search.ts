import { type RawBuilder, sql } from 'kysely'
import { toPrefixEnd } from '../../schemas/device-id.ts'
import type { LatestQuery, SortKey } from '../../schemas/vital-data.ts'
import type { LatestTable } from '../tables.ts'
import { toTimestamp } from '../timestamp.ts'
import type { LatestRow } from './resource-columns.ts'

/** Transactions that a statement saw: all below `xmax` except `xip`, as numbers of type xid8. */
export interface Snapshot {
  readonly xmax: number
  readonly xip: readonly number[]
}

/** Where a page ended. */
export interface Keyset {
  /** The value of `sortBy`: `timestamp` in Unix microseconds; `null` where the device has none, and by `deviceId`. */
  readonly key: number | null
  readonly device: string
  /** Of the first page of the walk; `null` by `deviceId`. */
  readonly snapshot: Snapshot | null
}

/** A page that is asked for. */
export interface LatestSearch extends Pick<LatestQuery, 'count' | 'offset' | 'sortBy' | 'orderBy'> {
  /** Of the device id. */
  readonly prefix?: string | undefined
  /** Only devices whose newest reading is of this time or before, Unix microseconds. */
  readonly silentSinceUs?: number | undefined
  /** Only devices behind it. */
  readonly after?: Keyset | undefined
}

export const SORT_COLUMNS: Readonly<Record<SortKey, keyof LatestTable>> = {
  deviceId: 'device',
  heartRate: 'heart_rate',
  breathRate: 'breath_rate',
  timestamp: 'time'
}

/** Transactions under way that a cursor names. With more, every row since the oldest of them counts as changed. */
const XIP_MAX = 100

export function isFiltered ({ prefix, silentSinceUs }: LatestSearch): boolean {
  return prefix !== undefined || silentSinceUs !== undefined
}

/** The sort value of a row, as in {@link Keyset}. */
export function toKey ({ timestamp, heartRate, breathRate }: LatestRow, sortBy: SortKey): number | null {
  switch (sortBy) {
    case 'deviceId': return null
    case 'timestamp': return Math.round(timestamp * 1e6)
    case 'heartRate': return heartRate
    case 'breathRate': return breathRate
  }
}

/** A condition on `latest` with the alias `l`. */
export function toFilter ({ prefix, silentSinceUs }: LatestSearch): RawBuilder<boolean> {
  const conditions: Array<RawBuilder<boolean>> = [sql`true`]
  if (prefix !== undefined) conditions.push(sql`l.device >= ${prefix} and l.device < ${toPrefixEnd(prefix)}`)
  if (silentSinceUs !== undefined) conditions.push(sql`l.time <= ${toTimestamp(silentSinceUs)}`)
  return all(conditions)
}

/** A condition for rows behind `after`. It leaves out rows written since the walk began: a page may have had them. */
export function toBehind ({ sortBy, orderBy, after }: LatestSearch): RawBuilder<boolean> {
  if (after === undefined) return sql`true`
  const { key, device, snapshot } = after
  const direction = sql.raw(orderBy === 'asc' ? '>' : '<')
  if (sortBy === 'deviceId') return sql`l.device ${direction} ${device}`
  const column = sql.raw(`l.${SORT_COLUMNS[sortBy]}`)
  const tie = sql<boolean>`l.device > ${device}`
  if (key === null) return all([sql`${column} is null`, tie, toUnchanged(snapshot)])
  const value = sortBy === 'timestamp' ? toTimestamp(key) : sql`${key}::float8`
  return all([
    sql`(${column} ${direction} ${value} or (${column} = ${value} and ${tie}) or ${column} is null)`,
    toUnchanged(snapshot)
  ])
}

const all = (conditions: ReadonlyArray<RawBuilder<boolean>>) => sql<boolean>`${sql.join(conditions, sql` and `)}`

/** `xmin` lacks the upper half of its transaction's number, so the largest number that is not ahead of now is taken. */
function toUnchanged (snapshot: Snapshot | null): RawBuilder<boolean> {
  if (snapshot === null) return sql`true`
  const { xmax, xip } = snapshot
  return sql`(select number < ${xmax}::bigint and number <> all(${xip}::bigint[])
    from (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as now, l.xmin::text::bigint as low) xid
    cross join lateral (
      select (now >> 32 << 32) + low - case when low >= now % (1::bigint << 32) then 1::bigint << 32 else 0 end as number
    ) own)`
}

/** Columns for {@link toSnapshot}: the snapshot of the statement. */
export const SNAPSHOT_COLUMNS = sql`
  pg_snapshot_xmin(pg_current_snapshot())::text::bigint as "snapshotXmin",
  pg_snapshot_xmax(pg_current_snapshot())::text::bigint as "snapshotXmax",
  array(select pg_snapshot_xip(pg_current_snapshot())::text::float8) as "snapshotXip"`

export interface SnapshotRow {
  readonly snapshotXmin: number
  readonly snapshotXmax: number
  readonly snapshotXip: readonly number[]
}

export function toSnapshot ({ snapshotXmin, snapshotXmax, snapshotXip }: SnapshotRow): Snapshot {
  return snapshotXip.length > XIP_MAX ? { xmax: snapshotXmin, xip: [] } : { xmax: snapshotXmax, xip: snapshotXip }
}
