import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'

/**
 * Virtual ids of the transactions that write readings or dead letters now, or wait for the lock to do so. A transaction
 * that writes into a month has locked the parent table too. VACUUM, ANALYZE and DDL take other modes.
 */
export async function selectWriters (kysely: Kysely<Tables>): Promise<Set<string>> {
  const { rows } = await sql<{ id: string }>`
    select virtualtransaction as id from pg_locks
    where locktype = 'relation' and mode = 'RowExclusiveLock' and relation in ('readings'::regclass, 'dead_letters'::regclass)
      and database = (select oid from pg_database where datname = current_database())`.execute(kysely)
  return new Set(rows.map(({ id }) => id))
}
