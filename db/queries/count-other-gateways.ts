import { type Kysely, sql } from 'kysely'
import { WRITER_NAMES } from '../gateway-names.ts'
import type { Tables } from '../tables.ts'
import { type Snapshot, SNAPSHOT_COLUMNS, type SnapshotRow, toSnapshot } from './latest-search.ts'

/**
 * How many gateways, bridges and sinks are connected to the database now, and the snapshot that was read with them.
 * @param applicationName - of the one that does not count
 */
export async function countOtherGateways (
  kysely: Kysely<Tables>, applicationName = ''
): Promise<{ readonly gateways: number, readonly snapshot: Snapshot }> {
  const { rows: [row] } = await sql<SnapshotRow & { gateways: number }>`
    select count(distinct application_name) as gateways, ${SNAPSHOT_COLUMNS} from pg_stat_activity
    where datname = current_database() and application_name ~ ${WRITER_NAMES} and application_name <> ${applicationName}`.execute(kysely)
  return { gateways: row!.gateways, snapshot: toSnapshot(row!) }
}
