import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'

/** A transaction that writes readings, for a person to look up. */
export interface WriterDescription {
  /** `null` for a prepared transaction, which has no process. */
  readonly pid: number | null
  readonly database: string
  /** Of the session, or the id that PREPARE TRANSACTION got. */
  readonly name: string
  readonly ageS: number
}

/** The oldest of these transactions. @param ids - as `selectWriters` returns them */
export async function describeOldestWriter (
  kysely: Kysely<Tables>, ids: ReadonlySet<string>
): Promise<WriterDescription | undefined> {
  const { rows: [row] } = await sql<WriterDescription>`
    select locks.pid, current_database() as database, coalesce(application_name, gid, '') as name,
      coalesce(extract(epoch from now() - coalesce(xact_start, prepared)), 0)::float8 as "ageS"
    from (select distinct virtualtransaction, pid from pg_locks where virtualtransaction = any(${[...ids]}::text[])) locks
    left join pg_stat_activity using (pid)
    left join pg_prepared_xacts on '-1/' || transaction::text = virtualtransaction
    order by "ageS" desc limit 1`.execute(kysely)
  return row
}
