import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'

/** A server that replays the log of this one. */
export interface Standby {
  /** application_name of its connection. */
  readonly name: string
  /** Seconds that it is behind, 0 when it is not; `null`: this role may not see it (pg_read_all_stats). */
  readonly lagS: number | null
}

export interface Replication {
  /** Place in the log up to which a standby has to replay. */
  readonly position: string
  /** Connected now. */
  readonly standbys: readonly Standby[]
}

export async function selectReplication (kysely: Kysely<Tables>): Promise<Replication> {
  const { rows: [{ position } = { position: '' }] } = await sql<{ position: string }>`
    select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end::text as position`.execute(kysely)
  const { rows } = await sql<Standby>`
    select application_name as name, case when state is null then null
      when replay_lsn >= ${position}::pg_lsn then 0 else coalesce(extract(epoch from replay_lag), 0)::float8 end as "lagS"
    from pg_stat_replication order by 1`.execute(kysely)
  return { position, standbys: rows }
}
