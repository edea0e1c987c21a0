import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'

/** A principal that changed, and when: Unix microseconds by PostgreSQL's clock. */
export interface ChangedPrincipal {
  readonly id: string
  readonly changedAtUs: number
}

/**
 * Principals that changed after a moment, oldest change first. A transaction may become visible after a later one, so
 * look a while back.
 * @param options.afterUs - Unix microseconds by PostgreSQL's clock
 * @param options.afterId - of those that changed at that very moment, the ones behind this id
 */
export async function selectChangedPrincipals (
  kysely: Kysely<Tables>, { afterUs, afterId, count }: { readonly afterUs: number, readonly afterId: string, readonly count: number }
): Promise<ChangedPrincipal[]> {
  // 1e-6 × a whole number of microseconds is not exact as a double; an interval of microseconds is.
  const { rows } = await sql<ChangedPrincipal>`
    select id, (extract(epoch from changed_at) * 1000000)::float8 as "changedAtUs" from principals
    where (changed_at, id) > (to_timestamp(0) + ${afterUs}::float8 * interval '1 microsecond', ${afterId})
    order by changed_at, id limit ${count}`.execute(kysely)
  return rows
}
