import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'
import { type LatestRow, RESOURCE_COLUMNS, SMALL } from './resource-columns.ts'

/** The latest state of one device. */
export async function findLatest (kysely: Kysely<Tables>, device: string): Promise<LatestRow | undefined> {
  const { rows: [row] } = await sql<LatestRow>`
    select ${RESOURCE_COLUMNS} from latest l cross join lateral ${SMALL} where l.device = ${device}`.execute(kysely)
  return row
}
