import { type Kysely, sql } from 'kysely'
import type { DeadLetterList, DeadLetterSummary } from '../../schemas/dead-letter.ts'
import type { Tables } from '../tables.ts'
import { DEAD_LETTER_COLUMNS, type DeadLetterFilter, matchesFilter } from './dead-letter-filter.ts'

/**
 * One page of the dead letters that match, newest first, and how many match. Ties are ordered by id, so pages neither
 * repeat nor skip a letter while nothing changes.
 */
export async function selectDeadLetters (
  kysely: Kysely<Tables>, { count, offset, ...filter }: DeadLetterFilter & {
    readonly count: number
    readonly offset: number
  }
): Promise<DeadLetterList> {
  const matches = matchesFilter(filter)
  // Joined, so that both come from one snapshot and a page past the end still has its total.
  const { rows } = await sql<{ total: number } & (DeadLetterSummary | { id: null })>`
    select * from (select count(*) as total from dead_letters where ${matches}) matching left join lateral (
      select ${DEAD_LETTER_COLUMNS} from dead_letters where ${matches} order by received_at desc, id desc limit ${count} offset ${offset}
    ) page on true order by "receivedAt" desc, id desc`.execute(kysely)
  const resources: DeadLetterSummary[] = []
  for (const { total, ...letter } of rows) {
    if (letter.id !== null) resources.push(letter)
  }
  return { total: rows[0]?.total ?? 0, resources }
}
