import { cut, weigh } from './replay-set.ts'
import type { Position } from './spool/reader.ts'
import type { Submission } from '../submission.ts'

/** A record that was read. It is released when all of it is decided. */
export interface Loaded {
  readonly position: Position
  /** Undecided units; `Infinity` until the record is decoded. */
  remaining: number
}

/** A message, or a part of one, that waits for PostgreSQL. */
export interface Entry {
  readonly submission: Submission
  readonly record: Loaded
  readonly weight: number
  /** Failures of this reading alone; more than one only if another reading was stored meanwhile. */
  readonly tries: number
}

/** Entries that were read from the spool and wait for PostgreSQL, oldest first. */
export class ReplayQueue {
  #entries: Entry[] = []
  #records: Loaded[] = []

  get isEmpty (): boolean {
    return this.#entries.length === 0
  }

  get weight (): number {
    return sumWeights(this.#entries)
  }

  /** Adds a record that is about to be decoded. Called in the order in which records were read. */
  add (position: Position): Loaded {
    const record = { position, remaining: Infinity }
    this.#records.push(record)
    return record
  }

  /** @returns its weight */
  push (submission: Submission, record: Loaded): number {
    if (submission.units === 0) return 0
    const weight = weigh(submission)
    this.#entries.push({ submission, record, weight, tries: 0 })
    return weight
  }

  putBack (entries: readonly Entry[]): void {
    this.#entries.unshift(...entries)
  }

  /**
   * @returns entries from the front, at least one reading unless the queue is empty; the last entry is cut if it is too
   *   large
   */
  take (weightMax: number): Entry[] {
    const set: Entry[] = []
    let weight = 0
    let taken = 0
    let rest: Entry | null = null
    for (const entry of this.#entries) {
      // A reading that is known to be slow is sent alone.
      if (set.length > 0 && entry.tries > 0) break
      if (weight + entry.weight > weightMax) {
        const parts = cut(entry.submission, weightMax - weight)
        const first = { ...entry, submission: parts.first, weight: weigh(parts.first) }
        // One reading is never cut.
        if (set.length > 0 && weight + first.weight > weightMax) break
        set.push(first)
        if (parts.rest !== null) rest = { ...entry, submission: parts.rest, weight: weigh(parts.rest) }
        taken++
        break
      }
      set.push(entry)
      weight += entry.weight
      taken++
      if (entry.tries > 0) break
    }
    this.#entries.splice(0, taken, ...rest === null ? [] : [rest])
    return set
  }

  /** Removes completed records up to the first one that is not. @returns the position of the last one removed */
  removeDone (): Position | null {
    let done = 0
    while (this.#records[done]?.remaining === 0) done++
    const last = this.#records[done - 1]
    this.#records.splice(0, done)
    return last?.position ?? null
  }
}

export function sumWeights (set: readonly Entry[]): number {
  return set.reduce((sum, { weight }) => sum + weight, 0)
}
