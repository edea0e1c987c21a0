import { type Kysely, sql } from 'kysely'
import type { StoredDeadLetter } from '../../schemas/dead-letter.ts'
import type { Tables } from '../tables.ts'
import { DEAD_LETTER_COLUMNS } from './dead-letter-filter.ts'

/** One dead letter, whole. @param id - a UUID */
export async function findDeadLetter (kysely: Kysely<Tables>, id: string): Promise<StoredDeadLetter | undefined> {
  const { rows: [row] } = await sql<StoredDeadLetter>`
    select ${DEAD_LETTER_COLUMNS}, payload from dead_letters where id = ${id}`.execute(kysely)
  return row
}
