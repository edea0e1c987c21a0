import type { Kysely } from 'kysely'
import { findDeadLetter } from '../db/queries/find-dead-letter.ts'
import { findLatest } from '../db/queries/find-latest.ts'
import { selectDeadLetters } from '../db/queries/select-dead-letters.ts'
import type { Tables } from '../db/tables.ts'
import type { Reads } from './http/reads.ts'
import type { DeadLetterReads } from './http/routes/get-dead-letters.ts'
import type { SortedPages } from './pages/sorted-pages.ts'

/** What the HTTP side reads, from PostgreSQL. */
export function createDatabaseReads (
  kysely: Kysely<Tables>, pages: Pick<SortedPages, 'list'>
): { readonly reads: Reads, readonly deadLetters: DeadLetterReads } {
  return {
    reads: {
      listLatest: pages.list,
      findLatest: (device) => findLatest(kysely, device)
    },
    deadLetters: {
      list: (query) => selectDeadLetters(kysely, query),
      find: (id) => findDeadLetter(kysely, id)
    }
  }
}
