import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'
import { toTimestamp } from '../timestamp.ts'

/** A place in the history of a device: the reading that was read last. */
export interface ReadingKey {
  /** Unix microseconds. */
  readonly timeUs: number
  /** A UUID's text. */
  readonly hash: string
}

export interface HistoryRow extends ReadingKey {
  /** JSON, without device and timestamp. */
  readonly vitals: string
  readonly receivedAtUs: number
}

export interface HistorySlice {
  readonly rows: HistoryRow[]
  /** No reading follows. */
  readonly isEnd: boolean
}

export interface HistoryQuery {
  readonly device: string
  /** Unix microseconds; readings with `fromUs` ≤ time < `toUs`. */
  readonly fromUs: number
  readonly toUs: number
  readonly isDescending: boolean
  readonly after: ReadingKey | null
}

/**
 * Bytes as stored, of the rows of one slice. Printed they are about as many, and 26 times as many at worst: 1e308 is 12
 * bytes stored.
 */
const SLICE_BYTES_MAX = 64 * 1024

/**
 * The next readings, in the order of the key: by time, then by hash. The slice ends before a row that would exceed its
 * bytes. A first row that is larger, or compressed, is a slice of its own: the length of its text is not known.
 */
export async function selectHistory (
  kysely: Kysely<Tables>, { device, fromUs, toUs, isDescending, after }: HistoryQuery, rowsMax: number
): Promise<HistorySlice> {
  const order = sql.raw(isDescending ? 'time desc, hash desc' : 'time, hash')
  const behind = after === null
    ? sql``
    // The bound on time alone lets PostgreSQL choose the partitions.
    : isDescending
      ? sql`and time <= ${toTimestamp(after.timeUs)} and (time, hash) < (${toTimestamp(after.timeUs)}, ${after.hash}::uuid)`
      : sql`and time >= ${toTimestamp(after.timeUs)} and (time, hash) > (${toTimestamp(after.timeUs)}, ${after.hash}::uuid)`
  const { rows } = await sql<HistoryRow & { readonly fetched: number }>`
    select fetched, (extract(epoch from time) * 1000000)::bigint as "timeUs", hash::text as hash, vitals::text as vitals,
      (extract(epoch from received_at) * 1000000)::bigint as "receivedAtUs"
    from (
      select *, count(*) over () as fetched, row_number() over later as place, sum(
        case when pg_column_compression(vitals) is null then pg_column_size(vitals) else ${SLICE_BYTES_MAX}::int + 1 end
      ) over (later rows unbounded preceding) as bytes
      from (
        select time, hash, vitals, received_at from readings
        where device = ${device} and time >= ${toTimestamp(fromUs)} and time < ${toTimestamp(toUs)} ${behind}
        order by ${order} limit ${rowsMax}::int
      ) next window later as (order by ${order})
    ) weighed
    where place = 1 or bytes <= ${SLICE_BYTES_MAX}::int
    order by ${order}`.execute(kysely)
  const fetched = rows[0]?.fetched ?? 0
  return { rows, isEnd: fetched < rowsMax && rows.length === fetched }
}

/**
 * The times between which a device has readings or roll-ups within [fromUs, toUs), Unix microseconds; `null` where it
 * has none. Roll-ups count with all of their bucket.
 */
export async function selectExtent (
  kysely: Kysely<Tables>, device: string, fromUs: number, toUs: number
): Promise<{ readonly firstUs: number, readonly lastUs: number } | null> {
  const edge = (table: string, direction: string) => sql`(
    select time from ${sql.table(table)} where device = ${device} and time >= ${toTimestamp(fromUs)} and time < ${toTimestamp(toUs)}
    order by device ${sql.raw(direction)}, time ${sql.raw(direction)} limit 1)`
  const { rows: [row] } = await sql<{ firstUs: number | null, lastUs: number }>`
    select (extract(epoch from least(${edge('readings', 'asc')}, ${edge('rollups_5m', 'asc')})) * 1000000)::bigint as "firstUs",
      (extract(epoch from greatest(${edge('readings', 'desc')},
        ${edge('rollups_5m', 'desc')} + interval '5 minutes' - interval '1 microsecond')) * 1000000)::bigint as "lastUs"`
    .execute(kysely)
  return row === undefined || row.firstUs === null ? null : { firstUs: row.firstUs, lastUs: row.lastUs }
}
