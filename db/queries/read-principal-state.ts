import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'

/** Whether there is any principal, revoked ones included. */
export async function readPrincipalState (kysely: Kysely<Tables>): Promise<{ readonly isEmpty: boolean }> {
  const { rows: [row] } = await sql<{ isEmpty: boolean }>`select not exists (select from principals) as "isEmpty"`.execute(kysely)
  return row!
}
