import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'

/** How many dead letters each device holds (`null`: those whose device is unknown), and their payload bytes. */
export async function countDeadLetters (kysely: Kysely<Tables>) {
  return await kysely
    .selectFrom('dead_letters')
    .select([
      'device',
      sql<number>`count(*)::float8`.as('letters'),
      sql<number>`coalesce(sum(octet_length(payload)), 0)::float8`.as('bytes')
    ])
    .groupBy('device')
    .execute()
}
