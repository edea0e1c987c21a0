import { findDeadLetter } from '../../db/queries/find-dead-letter.ts'
import { findLatest } from '../../db/queries/find-latest.ts'
import { selectDeadLetters } from '../../db/queries/select-dead-letters.ts'
import type { HoldBytes, Reads } from '../http/reads.ts'
import type { DeadLetterReads } from '../http/routes/get-dead-letters.ts'
import type { SortedPages } from './latest-order/sorted-pages.ts'
import { answerPage, answerRow } from './latest-answers.ts'
import type { ReadBudget } from './read-budget.ts'

/** What the HTTP side reads, from PostgreSQL. */
export function createDatabaseReads (
  budget: ReadBudget, pages: Pick<SortedPages, 'list'>
): { readonly reads: Reads, readonly deadLetters: DeadLetterReads, readonly holdBytes: HoldBytes } {
  return {
    reads: {
      listLatest: async (query, isGone) => await answerPage({ budget, isGone }, await pages.list(query)),
      async findLatest (device, isGone) {
        const row = await budget.query((kysely) => findLatest(kysely, device))
        return row && await answerRow({ budget, isGone }, row)
      }
    },
    deadLetters: {
      list: (query) => budget.query((kysely) => selectDeadLetters(kysely, query)),
      find: (id) => budget.query((kysely) => findDeadLetter(kysely, id))
    },
    holdBytes: budget.hold
  }
}
