import type { ReadingRow } from '../rows.ts'

/** A device that has resent nothing for this long is copied again. */
const RESENT_MS = 10_000
/**
 * Batches that a device may fail. After a lost connection, or a COMMIT without an answer, thousands of devices resend,
 * and fail one or two batches each.
 */
const BATCHES_MAX = 2
/** Further devices are not tracked; their batches are written twice. */
const DEVICES_MAX = 10_000
/**
 * Runs of other devices' readings between resenders that are copied, the longest ones. Shorter runs are inserted too,
 * because a statement of its own costs as much as inserting some ten readings.
 */
const COPIED_RUNS_MAX = 16

/** Neighbours in a batch that are written by one statement. */
export interface Run {
  readonly rows: readonly ReadingRow[]
  /** Inserted, where a duplicate does no harm, instead of copied. */
  readonly isInserted: boolean
}

/**
 * Devices that keep sending stored readings. One such reading fails COPY and with it the whole batch, which is then
 * written again, at twice the time. A device that never stops resending would do that to every batch, and delay the
 * acknowledgements of all devices. So the readings of these devices are inserted separately, at twice the cost of
 * COPY, where a duplicate does no harm.
 */
export class Resenders {
  /** The device that resent longest ago is the first. */
  readonly #resent = new Map<string, { readonly batches: number, readonly untilMs: number }>()
  readonly #nowMs: () => number

  constructor (nowMs = () => performance.now()) {
    this.#nowMs = nowMs
  }

  /** @param devices - that had duplicates in one batch */
  note (devices: Iterable<string>): void {
    const untilMs = this.#nowMs() + RESENT_MS
    for (const device of devices) {
      const batches = (this.#resent.get(device)?.batches ?? 0) + 1
      this.#resent.delete(device)
      if (this.#resent.size < DEVICES_MAX) this.#resent.set(device, { batches, untilMs })
    }
  }

  /**
   * @param readings - in the order in which they are written. It is kept, so resenders are not moved behind the others
   * @returns all readings, those of resenders in runs that are inserted
   */
  toRuns (readings: readonly ReadingRow[]): readonly Run[] {
    this.#forget()
    if (this.#resent.size === 0) return [{ rows: readings, isInserted: false }]
    const runs = join(readings.map((row) => ({
      rows: [row],
      isInserted: (this.#resent.get(row.device)?.batches ??
      0) > BATCHES_MAX
    })))
    const copied = runs.filter(({ isInserted }) => !isInserted).map(({ rows }) => rows.length).sort((a, b) => b - a)
    const copiedMin = copied[COPIED_RUNS_MAX]
    if (copiedMin === undefined) return runs
    return join(runs.map(({ rows, isInserted }) => ({ rows, isInserted: isInserted || rows.length <= copiedMin })))
  }

  #forget (): void {
    const nowMs = this.#nowMs()
    for (const [device, { untilMs }] of this.#resent) {
      if (untilMs > nowMs) return
      this.#resent.delete(device)
    }
  }
}

function join (runs: readonly Run[]): Run[] {
  const joined: Array<{ rows: ReadingRow[], isInserted: boolean }> = []
  for (const { rows, isInserted } of runs) {
    const last = joined.at(-1)
    if (last?.isInserted === isInserted) for (const row of rows) last.rows.push(row)
    else joined.push({ rows: [...rows], isInserted })
  }
  return joined
}
