import { type Kysely, sql } from 'kysely'
import { GATEWAY_NAMES } from '../gateway-names.ts'
import type { Tables } from '../tables.ts'

/** Gateways that are connected to the database now. @param applicationName - of one that does not count */
export async function countOtherGateways (kysely: Kysely<Tables>, applicationName = ''): Promise<number> {
  const { rows: [row] } = await sql<{ gateways: number }>`
    select count(distinct application_name) as gateways from pg_stat_activity
    where datname = current_database() and application_name ~ ${GATEWAY_NAMES} and application_name <> ${applicationName}`.execute(kysely)
  return row?.gateways ?? 0
}
