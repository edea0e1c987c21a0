/**
 * Answers of the latest states, as JSON text. Small rows come with the page. Large ones are fetched after it, slice by
 * slice. An answer of more than one slice leaves in parts, and a slice is dropped once the socket took it.
 */
import type { LatestPage, LatestRow } from '../../db/queries/resource-columns.ts'
import { selectLatestSlice } from '../../db/queries/select-latest-slice.ts'
import { type LargeRead, type ReadBudget, ReadsBusyError } from './read-budget.ts'

/** Of JSON in one slice: about 2 ms of PostgreSQL. A row that is larger is a slice of its own. */
const SLICE_BYTES_MAX = 256 * 1024
/** Characters that are sent whole, with their length. */
const WHOLE_CHARACTERS_MAX = 2 * SLICE_BYTES_MAX
/**
 * Characters handed to the socket at a time: a string of 12 MB would hold up the event loop for as long as it is
 * copied.
 */
const PART_CHARACTERS_MAX = 64 * 1024

/**
 * JSON text: whole, or in parts that are fetched as the client takes them. `close` ends their source; it may be called
 * again.
 */
export type ReadAnswer = string | { readonly parts: AsyncIterable<string>, readonly close: () => void }

interface Reader {
  readonly budget: Pick<ReadBudget, 'openLarge'>
  /** The client has left. */
  readonly isGone: () => boolean
}

/** @param next - the cursor of the next page */
export async function answerPage (
  reader: Reader, { total, resources }: LatestPage, next: string | null
): Promise<ReadAnswer> {
  return await answer(reader, resources, `{"total":${total},"resources":[`, `],"next":${JSON.stringify(next)}}`)
}

/** @returns `undefined` when the row was deleted meanwhile */
export async function answerRow (reader: Reader, row: LatestRow): Promise<ReadAnswer | undefined> {
  const answered = await answer(reader, [row], '', '')
  return answered === '' ? undefined : answered
}

async function answer (
  { budget, isGone }: Reader, rows: readonly LatestRow[], head: string, tail: string
): Promise<ReadAnswer> {
  if (rows.every(isWhole)) return head + rows.map(toJson).join(',') + tail
  const read = await budget.openLarge()
  try {
    const texts = createTexts({ read, rows, isGone })
    // Before the status is sent: until here the read may still be refused.
    const first = [head, ...await texts.next()]
    if (texts.isDone && first.reduce((sum, { length }) => sum + length, 0) <= WHOLE_CHARACTERS_MAX) {
      read.close()
      return first.join('') + tail
    }
    return { parts: toParts(first, texts, tail), close: read.close }
  } catch (error) {
    read.close()
    throw error
  }
}

async function * toParts (
  first: string[], texts: ReturnType<typeof createTexts>, tail: string
): AsyncGenerator<string> {
  yield * cut(first)
  while (!texts.isDone) yield * cut(await texts.next())
  if (tail !== '') yield tail
}

/**
 * Parts of nearly the same length. A large text is cut by itself: joined to its neighbours, it would be copied as a
 * whole first.
 */
export function * cut (texts: readonly string[]): Generator<string> {
  let part = ''
  for (const text of texts) {
    for (let from = 0; from < text.length; from += PART_CHARACTERS_MAX) {
      part += text.slice(from, from + PART_CHARACTERS_MAX)
      if (part.length < PART_CHARACTERS_MAX) continue
      yield part
      part = ''
    }
  }
  if (part !== '') yield part
}

/**
 * The rows as JSON, in order and in pieces, as many at a time as one slice brings. A device that was deleted meanwhile
 * is left out.
 */
function createTexts ({ read, rows, isGone }: { read: LargeRead, rows: readonly LatestRow[], isGone: () => boolean }) {
  const large = rows.filter((row) => !isWhole(row)).map(({ deviceId }) => deviceId)
  let index = 0
  /** Rows of `large` that were fetched, and that were passed. */
  let fetched = 0
  let passed = 0
  let separator = ''
  let slice: ReadonlyMap<string, LatestRow> = new Map()

  async function fetchSlice (): Promise<void> {
    // Dropped first, so that two slices are never held at once.
    slice = new Map()
    const { rows, devices } = await read.slice((kysely) => {
      if (isGone()) throw new ReadsBusyError('its client has gone')
      return selectLatestSlice(kysely, large.slice(fetched), SLICE_BYTES_MAX)
    }, ({ bytes }) => bytes)
    fetched += devices
    slice = new Map(rows.map((row) => [row.deviceId, row]))
  }

  return {
    get isDone () { return index === rows.length },

    async next (): Promise<string[]> {
      let hasFetched = false
      const texts: string[] = []
      for (; index < rows.length; index++) {
        const row = rows[index]!
        if (!isWhole(row) && passed === fetched) {
          if (hasFetched) break
          await fetchSlice()
          hasFetched = true
        }
        const whole = isWhole(row) ? row : slice.get(row.deviceId)
        if (!isWhole(row)) passed++
        if (whole === undefined) continue
        texts.push(separator, ...toPieces(whole))
        separator = ','
      }
      return texts
    }
  }
}

const isWhole = ({ vitals }: LatestRow) => vitals !== null

function toPieces ({ deviceId, timestamp, heartRate, breathRate, vitals, vitalTimestamps }: LatestRow): string[] {
  const head = JSON.stringify({ deviceId, timestamp, heartRate, breathRate })
  return [`${head.slice(0, -1)},"vitals":`, `${vitals}`, ',"vitalTimestamps":', `${vitalTimestamps}`, '}']
}

const toJson = (row: LatestRow) => toPieces(row).join('')
