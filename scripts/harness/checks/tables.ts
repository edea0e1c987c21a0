/** Queries of the harness on the gateway's database: how many rows it has, and whether the gateway is at work in it. */
import type { Query } from './stored.ts'
import type { Rows } from './metrics.ts'
import { until } from '../until.ts'

const IDLE_TIMEOUT_MS = 20_000

export async function countRows (query: Query): Promise<Rows> {
  const [row] = await query<{ readings: string, letters: string }>(
    'select (select count(*) from readings) as readings, (select count(*) from dead_letters) as letters')
  return { readings: Number(row?.readings), letters: Number(row?.letters) }
}

/** Rows added since `baseline` was counted. */
export async function countNew (query: Query, baseline: Rows): Promise<Rows> {
  const { readings, letters } = await countRows(query)
  return { readings: readings - baseline.readings, letters: letters - baseline.letters }
}

/**
 * Waits until the gateway has no session that `condition` holds for.
 * @param condition - SQL on `pg_stat_activity`
 * @throws when sessions remain
 */
export async function untilIdle (query: Query, condition: string): Promise<void> {
  const idle = await until(async () => {
    const rows = await query(
      `select 1 from pg_stat_activity where datname = current_database() and application_name like 'vital-gateway%' and ${condition}`)
    return rows.length === 0
  }, IDLE_TIMEOUT_MS)
  if (idle === null) throw new Error('the gateway\'s sessions in PostgreSQL do not end')
}
