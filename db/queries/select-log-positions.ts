import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'

/** A place in the write-ahead log of one PostgreSQL and its replicas. */
export interface LogPosition {
  /** A promotion begins a new one; places of two timelines cannot be compared. */
  readonly timeline: number
  /** From the log's beginning. */
  readonly bytes: number
}

/** State of the server that writes. */
export interface PrimaryState extends LogPosition {
  /** The same for all replicas of one primary. */
  readonly systemId: string
  /** COMMIT waits for a replica. */
  readonly isSynchronous: boolean
}

/** State of a server that may be a replica. */
export interface ReplicaState extends LogPosition {
  readonly systemId: string
  /** It replays the log of another server. */
  readonly isReplica: boolean
}

/**
 * The end of the log: every transaction that was committed before lies in front of it.
 * @throws the error of pg, also when the server is a replica
 */
export async function selectPrimaryState (kysely: Kysely<Tables>): Promise<PrimaryState> {
  const { rows: [row] } = await sql<PrimaryState>`
    select ('x' || left(pg_walfile_name(lsn), 8))::bit(32)::int as timeline, (lsn - '0/0'::pg_lsn)::int8 as bytes,
      system_identifier::text as "systemId", current_setting('synchronous_standby_names') <> '' as "isSynchronous"
    from pg_current_wal_insert_lsn() as lsn, pg_control_system()`.execute(kysely)
  return row!
}

/**
 * How far a replica has replayed. Its timeline is that of its last restart point, so after a promotion elsewhere it is
 * too low for a while.
 */
export async function selectReplicaState (kysely: Kysely<Tables>): Promise<ReplicaState> {
  const { rows: [row] } = await sql<ReplicaState>`
    select greatest(timeline_id, min_recovery_end_timeline) as timeline,
      coalesce(pg_last_wal_replay_lsn() - '0/0'::pg_lsn, 0)::int8 as bytes,
      system_identifier::text as "systemId", pg_is_in_recovery() as "isReplica"
    from pg_control_system(), pg_control_checkpoint(), pg_control_recovery()`.execute(kysely)
  return row!
}
