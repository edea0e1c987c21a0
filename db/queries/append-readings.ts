import { type Kysely, sql } from 'kysely'
import type { LatestRow } from '../fold-latest.ts'
import type { ReadingRow } from '../rows.ts'
import type { Tables } from '../tables.ts'
import { insertNewReadings } from './insert-readings.ts'
import { upsertLatestRows } from './upsert-latest.ts'

/**
 * History and latest state in one statement, which is a transaction of its own: one round trip instead of three. For small
 * batches, where round trips cost more than rows; COPY costs less a row.
 * @returns identities of the readings that were new, as `insertReadings` does
 */
export function appendReadings (kysely: Kysely<Tables>, rows: readonly ReadingRow[], latest: readonly LatestRow[]) {
  return sql<{ identity: string }>`
    with appended as (${insertNewReadings(rows)}), laid as (${upsertLatestRows(latest)})
    select identity from appended
  `.compile(kysely)
}
