import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'
import { type Snapshot, SNAPSHOT_COLUMNS, type SnapshotRow, toSnapshot } from './latest-search.ts'

/** The snapshot of PostgreSQL now. */
export async function selectSnapshot (kysely: Kysely<Tables>): Promise<Snapshot> {
  const { rows: [row] } = await sql<SnapshotRow>`select ${SNAPSHOT_COLUMNS}`.execute(kysely)
  return toSnapshot(row!)
}
