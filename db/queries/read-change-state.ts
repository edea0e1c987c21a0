import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'

/** The position up to which changes of principals were read. */
export interface ChangePosition {
  /** Of PostgreSQL, as text: which transactions were visible. */
  readonly snapshot: string
  /** One run of one server, and one table: transaction numbers of two of them cannot be compared. */
  readonly server: string
}

/** Changes of principals since a position. */
export interface ChangeState extends ChangePosition {
  /** There is no principal, not even a revoked one. */
  readonly isEmpty: boolean
  readonly hasChanged: boolean
  /** The changes since the position are no longer known, or this gateway never polled before. */
  readonly isUnknown: boolean
}

/**
 * Looks for changes that were committed since a position. A transaction that stays open, in this database or another,
 * holds back the oldest transaction of all snapshots. Then more rows are examined, but none counts twice.
 * @param since - `null`: the first time
 */
export async function readChangeState (kysely: Kysely<Tables>, since: ChangePosition | null): Promise<ChangeState> {
  const from = sql`${since?.snapshot ?? null}::pg_snapshot`
  // A restored dump may hold transaction numbers of another server, ahead of ours. The bound by xmax leaves them out.
  const { rows: [row] } = await sql<ChangeState>`
    select
      pg_current_snapshot()::text as snapshot,
      pg_postmaster_start_time()::text || ' ' || 'principal_changes'::regclass::oid as server,
      not exists (select from principals) as "isEmpty",
      exists (
        select from principal_changes
        where xid >= pg_snapshot_xmin(${from}) and xid < pg_snapshot_xmax(pg_current_snapshot())
          and not pg_visible_in_snapshot(xid, ${from})
      ) as "hasChanged",
      coalesce((
        select xid >= pg_snapshot_xmin(${from}) and xid < pg_snapshot_xmax(pg_current_snapshot()) from principal_changes_forgotten
      ), true) as "isUnknown"`.execute(kysely)
  return { ...row!, isUnknown: row!.isUnknown || since?.server !== row!.server }
}
