import { type HistoryRow, type ReadingKey, selectHistory } from '../../../db/queries/select-history.ts'
import { encodeCursor, type HistoryRequest } from '../../../schemas/history.ts'
import type { Pages, Run } from './pages.ts'

/** Rows asked for at a time; the query ends a slice sooner where they are large. */
const SLICE_ROWS_MAX = 1000
/** Of a row beside its vitals, as text. */
const ROW_OVERHEAD_BYTES = 80

/** The readings of a device, slice by slice. */
export function createReadingPages (device: string, request: HistoryRequest): Pages<HistoryRow> {
  const { fromUs, toUs, isDescending, after: cursor } = request
  let remaining = request.count
  let after = cursor === null ? null : { timeUs: cursor.timeUs, hash: cursor.hash! } satisfies ReadingKey
  let isDone = false
  let next: string | null = null

  return {
    get isDone () { return isDone },
    get next () { return next },

    async slice (run: Run): Promise<HistoryRow[]> {
      // One more than asked for tells whether there is a next page.
      const rowsMax = Math.min(remaining + 1, SLICE_ROWS_MAX)
      const { rows, isEnd } = await run((kysely) => selectHistory(kysely, { device, fromUs, toUs, isDescending, after }, rowsMax),
        ({ rows }) => rows.reduce((bytes, { vitals }) => bytes + vitals.length + ROW_OVERHEAD_BYTES, 0))
      if (rows.length > remaining) {
        rows.length = remaining
        isDone = true
        next = encodeCursor(request, rows.at(-1)!)
      } else {
        isDone = isEnd
      }
      remaining -= rows.length
      const last = rows.at(-1)
      if (last !== undefined) after = { timeUs: last.timeUs, hash: last.hash }
      return rows
    }
  }
}
