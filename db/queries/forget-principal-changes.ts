import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'

/**
 * Deletes rows of the log of changes that every snapshot sees and that are older than an hour, and records how far. A
 * gateway that was away for longer finds that record, and compares all principals that it knows. The same happens where
 * PostgreSQL's clock jumps ahead by an hour.
 */
export async function forgetPrincipalChanges (kysely: Kysely<Tables>): Promise<void> {
  // PostgreSQL before 16 has no max() of xid8. A number that is ahead of all snapshots came with a restored dump.
  await sql`
    with forgotten as (
      delete from principal_changes where at < now() - interval '1 hour' and xid < pg_snapshot_xmin(pg_current_snapshot()) returning xid
    ), newest as (
      select xid from forgotten order by xid desc limit 1
    )
    update principal_changes_forgotten set xid = case
      when principal_changes_forgotten.xid < pg_snapshot_xmax(pg_current_snapshot())
        then greatest(principal_changes_forgotten.xid, newest.xid)
      else newest.xid end
    from newest`.execute(kysely)
}
