import { type Kysely, sql } from 'kysely'
import type { Tables } from './tables.ts'

/** Ingest queues behind a session that waits for the lock of a chunk. */
const LOCK_TIMEOUT_MS = 1000

/**
 * Whether a table was made a hypertable of TimescaleDB (hypertable.sql). The extension then makes chunks where the
 * gateway would make months.
 */
export async function isHypertable (kysely: Kysely<Tables>, table: string): Promise<boolean> {
  const { rows: [row] } = await sql<{ isPartitioned: boolean }>`
    select relkind = 'p' as "isPartitioned" from pg_class where oid = ${table}::regclass`.execute(kysely)
  return row?.isPartitioned === false
}

/**
 * Drops the chunks that hold nothing newer than a time.
 * @param cutoff - Unix seconds
 * @returns names of the chunks
 * @throws the error of pg; `55P03` lock_not_available: try again later
 */
export async function dropChunks (kysely: Kysely<Tables>, table: string, cutoff: number): Promise<string[]> {
  return await kysely.transaction().execute(async (transaction) => {
    await sql`set local lock_timeout = ${sql.lit(LOCK_TIMEOUT_MS)}`.execute(transaction)
    const { rows } = await sql<{ chunk: string }>`
      select drop_chunks(${table}::regclass, older_than => to_timestamp(${cutoff})) as chunk`.execute(transaction)
    return rows.map(({ chunk }) => chunk)
  })
}
