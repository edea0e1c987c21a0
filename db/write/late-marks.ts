/**
 * Marks for the readings of a batch whose bucket of averages may be closed already (`db/rollups/closing.ts`).
 *
 *   time < open_from ── a mark ┐
 *   time ahead of its receipt ─┴─> insert into rollup_late
 *   the others ── the oldest of them ──> VR001 when open_from has passed it
 *
 * A reading ahead of its receipt has a mark because `latest` counts it as of its receipt, and closing finds the devices
 * of a bucket by `latest`.
 */
import { isAhead } from '../effective-time.ts'
import type { ReadingRow } from '../rows.ts'
import { toSqlState } from '../sqlstate.ts'
import { type Step, toStatement } from './pipeline.ts'
import { type Column, withRows } from './unnest.ts'

const BUCKET_US = 300e6

/** SQLSTATE of `vital_refuse_closed`. */
const CLOSED = 'VR001'

interface Mark {
  readonly device: string
  readonly timeUs: number
}

const COLUMNS: ReadonlyArray<Column<Mark>> = [
  { type: 'text', write: (writer, mark) => writer.text(mark.device) },
  { type: 'timestamptz', write: (writer, mark) => writer.timestamptz(mark.timeUs) }
]

const MARK = toStatement('insert into rollup_late (device, time) select * from unnest($1::text[], $2::timestamptz[])')
// The function is called only to fail: called for each batch, it took 115 µs.
const ASSERT = toStatement('select vital_refuse_closed(open_from) from rollup_state where open_from > $1')

/** The `open_from` that a store knows: the database tells it with the error of a batch that comes too late. */
export class LateMarks {
  #openFromUs = -Infinity

  /**
   * @param rows - by device and time
   * @returns the last statements of the batch. The assertion comes behind everything that is written: a closing waits
   *   for transactions that hold locks on `readings`.
   */
  toSteps (rows: readonly ReadingRow[]): Step[] {
    const marks: Mark[] = []
    let oldestUs = Infinity
    for (const row of rows) {
      if (row.timeUs < this.#openFromUs || isAhead(row.timeUs, row.receivedAtMs)) addMark(marks, row)
      else if (row.timeUs < oldestUs) oldestUs = row.timeUs
    }
    const steps: Step[] = marks.length === 0 ? [] : [withRows(MARK, COLUMNS, marks, 48)]
    if (oldestUs !== Infinity) steps.push(toAssertion(oldestUs))
    return steps
  }

  /** @returns whether the batch failed only because it lacks marks, and may be written again with them */
  learn (error: unknown): boolean {
    if (toSqlState(error) !== CLOSED) return false
    // Another batch may have learnt it meanwhile.
    this.#openFromUs = Math.max(this.#openFromUs, Number((error as { detail?: string }).detail))
    return true
  }
}

/** Each bucket once: rows come by device and time. */
function addMark (marks: Mark[], { device, timeUs: readingUs }: ReadingRow): void {
  const timeUs = Math.floor(readingUs / BUCKET_US) * BUCKET_US
  const last = marks.at(-1)
  if (last?.device !== device || last.timeUs !== timeUs) marks.push({ device, timeUs })
}

function toAssertion (oldestUs: number): Step {
  return {
    statement: ASSERT,
    parameters: 1,
    sizeBytes: 64,
    writeParameters: (writer) => { writer.timestamptz(oldestUs) }
  }
}
