import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'
import { type DeadLetterFilter, matchesFilter } from './dead-letter-filter.ts'

/** The ids of all dead letters that match, oldest first, so that a command can list them before it changes them. */
export async function selectDeadLetterIds (kysely: Kysely<Tables>, filter: DeadLetterFilter): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select id from dead_letters where ${matchesFilter(filter)} order by received_at, id`.execute(kysely)
  return rows.map(({ id }) => id)
}
