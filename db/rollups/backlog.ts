import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'

/** More are not counted. */
const MARKS_COUNTED_MAX = 100_000

/** Deferred work. */
export interface Backlog {
  /** From the end of the newest computed bucket to now. */
  readonly lagS: number
  /** Marks of late buckets. */
  readonly marks: number
  /** Whether readings from before there were roll-ups wait to be rolled up. */
  readonly isUnbuilt: boolean
}

/** The work that is left for the worker, by PostgreSQL's clock. */
export async function readBacklog (kysely: Kysely<Tables>): Promise<Backlog> {
  const { rows: [row] } = await sql<Backlog>`
    select extract(epoch from now() - closed_before)::float8 as "lagS",
      built_from > '-infinity' as "isUnbuilt",
      (select count(*) from (select from rollup_late limit ${sql.lit(MARKS_COUNTED_MAX)}) counted) as marks
    from rollup_state`.execute(kysely)
  if (row === undefined) throw new Error('rollup_state has lost its row')
  return row
}
