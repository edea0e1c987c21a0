import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'

/** Whether there is any principal, revoked ones included, and what PostgreSQL's clock shows: Unix microseconds. */
export async function readPrincipalState (kysely: Kysely<Tables>): Promise<{ readonly isEmpty: boolean, readonly nowUs: number }> {
  const { rows: [row] } = await sql<{ isEmpty: boolean, nowUs: number }>`
    select not exists (select from principals) as "isEmpty", (extract(epoch from clock_timestamp()) * 1000000)::float8 as "nowUs"`.execute(kysely)
  if (row === undefined) throw new Error('PostgreSQL answered a select without from with no row')
  return row
}
