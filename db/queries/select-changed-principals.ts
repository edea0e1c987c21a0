import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'

/** A row of the log of changes. */
export interface ChangedPrincipals {
  readonly id: number
  /** Up to 500 ids; none where any principal may have changed. */
  readonly principals: readonly string[]
}

/**
 * Changes that were committed between two snapshots, a page at a time.
 * @param options.since - exclusive, and `until` inclusive; both as PostgreSQL writes a snapshot
 * @param options.after - id of the last row of the page before; 0 for the first
 */
export async function selectChangedPrincipals (
  kysely: Kysely<Tables>,
  { since, until, after, count }: {
    readonly since: string
    readonly until: string
    readonly after: number
    readonly count: number
  }
): Promise<ChangedPrincipals[]> {
  const { rows } = await sql<ChangedPrincipals>`
    select id, principals from principal_changes
    where id > ${after} and xid >= pg_snapshot_xmin(${since}::pg_snapshot) and not pg_visible_in_snapshot(xid, ${since}::pg_snapshot)
      and pg_visible_in_snapshot(xid, ${until}::pg_snapshot)
    order by id limit ${count}`.execute(kysely)
  return rows
}
