import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'
import { toTimestamp } from '../timestamp.ts'

/**
 * Start of the day that comes `days` after the day of `unixUs` in a time zone; before it, where negative.
 * @returns Unix microseconds
 */
export async function selectDayEdge (
  kysely: Kysely<Tables>, timeZone: string, unixUs: number, days: number
): Promise<number> {
  const { rows: [row] } = await sql<{ edgeUs: number }>`
    select (extract(epoch from (
      date_trunc('day', ${toTimestamp(unixUs)} at time zone ${timeZone})
        + make_interval(days => ${days}::int)) at time zone ${timeZone}) * 1000000)::bigint as "edgeUs"`.execute(kysely)
  return row!.edgeUs
}
