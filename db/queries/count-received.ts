import { type Kysely, sql } from 'kysely'
import { GATEWAY_NAMES } from '../gateway-names.ts'
import type { Tables } from '../tables.ts'

/** Rows that the tables hold of a period, and the counts of those that may have been removed. */
export interface Received {
  readonly readings: number
  /** Devices that have such a reading and no row in `latest`. */
  readonly devicesWithoutLatest: number
  readonly deadLetters: number
  /**
   * Rows deleted since PostgreSQL's statistics begin, whenever they had been received. Dropped partitions leave no
   * count.
   */
  readonly readingsDeleted: number
  readonly deadLettersDeleted: number
  /** Gateways connected to the database now. */
  readonly gateways: number
}

/**
 * Counts the readings received at `since` (Unix seconds) or later. Reads all of `readings`, because there is no index
 * by `received_at`: it would cost ingest more than an audit is worth.
 */
export async function countReceived (kysely: Kysely<Tables>, since: number): Promise<Received> {
  const { rows: [row] } = await sql<Received>`
    select
      r.readings, r."devicesWithoutLatest",
      (select count(*) from dead_letters where received_at >= to_timestamp(${since})) as "deadLetters",
      (select coalesce(sum(n_tup_del), 0)::float8 from pg_stat_user_tables join pg_inherits on inhrelid = relid
        where inhparent = 'readings'::regclass) as "readingsDeleted",
      (select coalesce(sum(n_tup_del), 0)::float8 from pg_stat_user_tables where relid = 'dead_letters'::regclass) as "deadLettersDeleted",
      (select count(distinct application_name) from pg_stat_activity
        where datname = current_database() and application_name ~ ${GATEWAY_NAMES}) as gateways
    from (
      select count(*) as readings, count(distinct readings.device) filter (where latest.device is null) as "devicesWithoutLatest"
      from readings left join latest on latest.device = readings.device where received_at >= to_timestamp(${since})
    ) r`.execute(kysely)
  return row!
}
