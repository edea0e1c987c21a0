import { type RawBuilder, sql } from 'kysely'

/**
 * An instant as `timestamptz`. The function is immutable, so PostgreSQL chooses partitions before it plans them.
 * @param unixUs - Unix microseconds; exact until the year 2255
 */
export function toTimestamp (unixUs: number): RawBuilder<unknown> {
  return sql`to_timestamp(${unixUs / 1e6}::float8)`
}
