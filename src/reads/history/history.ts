import { type ReadBudget, ReadsBusyError } from '../read-budget.ts'
import { findLatest } from '../../../db/queries/find-latest.ts'
import { selectExtent } from '../../../db/queries/select-history.ts'
import { FIRST_US, type HistoryRequest, LAST_US } from '../../../schemas/history.ts'
import type { ReadAnswer } from '../latest-answers.ts'
import { createBucketPages } from './bucket-pages.ts'
import { bucketWriter, readingWriter, type Writer } from './formats.ts'
import type { Pages, Run } from './pages.ts'
import { createReadingPages } from './reading-pages.ts'

/** Characters that are gathered before a large answer begins. */
const WHOLE_CHARACTERS_MAX = 256 * 1024
/** Characters handed to the socket at a time. */
const PART_CHARACTERS_MAX = 64 * 1024

/** An answer, and what it is. */
export interface HistoryAnswer {
  readonly contentType: string
  readonly answer: ReadAnswer
}

/** Readings and averages of a device, for the routes. */
export interface HistoryReads {
  /**
   * @param isGone - whether the client has left; then nothing more is read for it
   * @returns `undefined` when no reading of that device was ever stored
   * @throws `VITAL_READS_BUSY` before anything was sent, or the error of pg
   */
  findHistory (device: string, request: HistoryRequest, isGone: () => boolean): Promise<HistoryAnswer | undefined>
}

export function createHistoryReads (budget: Pick<ReadBudget, 'query' | 'openLarge'>): HistoryReads {
  return {
    async findHistory (device, request, isGone) {
      const { every, format } = request
      return every === null
        ? await answer(device, createReadingPages(device, request), readingWriter(device, format), isGone)
        : await answer(device, createBucketPages(device, { ...request, every }), bucketWriter(device, every, format), isGone)
    }
  }

  async function answer<Resource> (
    device: string, pages: Pages<Resource>, writer: Writer<Resource>, isGone: () => boolean
  ): Promise<HistoryAnswer | undefined> {
    const { contentType, head, tail } = writer
    let text = head
    let isFirst = true
    do {
      if (isGone()) throw new ReadsBusyError('its client has gone')
      const resources = await pages.slice((query) => budget.query(query))
      text += writer.rows(resources, isFirst)
      isFirst &&= resources.length === 0
    } while (!pages.isDone && text.length < WHOLE_CHARACTERS_MAX)
    if (isFirst && pages.isDone && !await isKnown(device)) return undefined
    if (pages.isDone) return { contentType, answer: text + tail(pages.next) }
    // Before the status: until here the read may still be refused.
    const read = await budget.openLarge()
    const run: Run = (query, toBytes) => {
      if (isGone()) throw new ReadsBusyError('its client has gone')
      return read.slice(query, toBytes)
    }
    return { contentType, answer: { parts: toParts(text, isFirst, pages, writer, run), close: read.close } }
  }

  /** Readings may have come past the gateway, or be all that an erasure of `latest` by hand left. */
  async function isKnown (device: string): Promise<boolean> {
    return await budget.query(async (kysely) => await findLatest(kysely, device) !== undefined ||
      await selectExtent(kysely, device, FIRST_US, LAST_US) !== null)
  }
}

async function * toParts<Resource> (
  first: string, isFirst: boolean, pages: Pages<Resource>, writer: Writer<Resource>, run: Run
): AsyncGenerator<string> {
  let part = first
  while (!pages.isDone) {
    while (part.length >= PART_CHARACTERS_MAX) {
      yield part.slice(0, PART_CHARACTERS_MAX)
      part = part.slice(PART_CHARACTERS_MAX)
    }
    const resources = await pages.slice(run)
    part += writer.rows(resources, isFirst)
    isFirst &&= resources.length === 0
    // pg's query holds the same array, and lives in V8's old generation until the next major collection.
    resources.length = 0
  }
  part += writer.tail(pages.next)
  for (let at = 0; at < part.length; at += PART_CHARACTERS_MAX) yield part.slice(at, at + PART_CHARACTERS_MAX)
}
