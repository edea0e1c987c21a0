import { type BudgetAt, type ReadBudget, ReadsBusyError } from '../read-budget.ts'
import { findLatest } from '../../../db/queries/find-latest.ts'
import { selectExtent } from '../../../db/queries/select-history.ts'
import { FIRST_US, type HistoryRequest, LAST_US } from '../../../schemas/history.ts'
import { cut, type ReadAnswer } from '../latest-answers.ts'
import { createBucketPages } from './bucket-pages.ts'
import { bucketWriter, readingWriter, type Writer } from './formats.ts'
import type { Pages, Run } from './pages.ts'
import { createReadingPages } from './reading-pages.ts'

/** Characters that are gathered before a large answer begins. */
const WHOLE_CHARACTERS_MAX = 256 * 1024

/** An answer and its content type. */
export interface HistoryAnswer {
  readonly contentType: string
  readonly answer: ReadAnswer
}

/** Readings and averages of a device, for the routes. */
export interface HistoryReads {
  /**
   * @param isGone - whether the client has left; then nothing more is read for it
   * @param position - the answer shows at least the readings that were stored by then; `null`: see `ReadAt`
   * @returns `undefined` when no reading of that device was ever stored
   * @throws `VITAL_READS_BUSY` before anything was sent, or the error of pg
   */
  findHistory (
    device: string, request: HistoryRequest, isGone: () => boolean, position: string | null
  ): Promise<HistoryAnswer | undefined>
}

export function createHistoryReads (budget: Pick<ReadBudget, 'at'>): HistoryReads {
  return {
    async findHistory (device, request, isGone, position) {
      const { every, format } = request
      const reader = { budget: budget.at(position), isGone }
      return every === null
        ? await answer(reader, device, createReadingPages(device, request), readingWriter(device, format))
        : await answer(reader, device, createBucketPages(device, { ...request, every }), bucketWriter(device, every, format))
    }
  }

  async function answer<Resource> (
    { budget, isGone }: Reader, device: string, pages: Pages<Resource>, writer: Writer<Resource>
  ): Promise<HistoryAnswer | undefined> {
    const { contentType, head } = writer
    const texts = createTexts(pages, writer, isGone)
    let text = head
    do text += await texts.next((query) => budget.query(query))
    while (!pages.isDone && text.length < WHOLE_CHARACTERS_MAX)
    if (texts.isEmpty && pages.isDone && !await isKnown(budget, device)) return undefined
    if (pages.isDone) return { contentType, answer: text + writer.tail(pages.next) }
    // Before the status is sent: until here the read may still be refused.
    const { slice, close } = await budget.openLarge()
    return { contentType, answer: { parts: toParts(text, slice), close } }

    async function * toParts (first: string, run: Run): AsyncGenerator<string> {
      yield * cut([first])
      while (!pages.isDone) yield * cut([await texts.next(run)])
      yield * cut([writer.tail(pages.next)])
    }
  }

  /** Readings may have been written past the gateway, or their row of `latest` deleted by hand. */
  async function isKnown (budget: BudgetAt, device: string): Promise<boolean> {
    return await budget.query(async (kysely) => await findLatest(kysely, device) !== undefined ||
      await selectExtent(kysely, device, FIRST_US, LAST_US) !== null)
  }
}

interface Reader {
  readonly budget: BudgetAt
  readonly isGone: () => boolean
}

/** The resources as text, a slice at a time. */
function createTexts<Resource> (pages: Pages<Resource>, writer: Writer<Resource>, isGone: () => boolean) {
  let isEmpty = true
  return {
    get isEmpty () { return isEmpty },

    async next (run: Run): Promise<string> {
      if (isGone()) throw new ReadsBusyError('its client has gone')
      const resources = await pages.slice(run)
      const text = writer.rows(resources, isEmpty)
      isEmpty &&= resources.length === 0
      // pg's query holds the same array, and lives in V8's old generation until the next major collection.
      resources.length = 0
      return text
    }
  }
}
