import type { DeadLetterRow, ReadingRow } from '../../db/rows.ts'
import type { Fault } from '../../schemas/fault.ts'
import type { Transport } from './ledger.ts'

/** A reading that the database itself refused, found by bisection. */
export interface DatabaseRejection {
  readonly row: ReadingRow
  readonly errors: readonly Fault[]
}

export type Settlement = 'durable' | 'unavailable'

/**
 * One message of a client, on its way to being durable: what it holds goes into one batch together, and its one
 * acknowledgement waits for all of it.
 */
export class Submission {
  readonly transport: Transport
  readonly clientId: string | null
  readonly readings: readonly ReadingRow[]
  readonly letters: readonly DeadLetterRow[]
  /** Charged against the buffer's bound. */
  readonly bytes: number
  /** Monotonic milliseconds. */
  readonly acceptedAtMs: number
  /** What the database itself refused of it; filled by the journal. */
  readonly rejections: DatabaseRejection[] = []
  /** Indexes into `readings` that are decided, once the journal had to bisect; a retry leaves them out. */
  decided: Set<number> | null = null
  /** How many of `readings` were stored before. */
  duplicates = 0
  /** Rejections that found the dead letters full. */
  rejectionsOverCap = 0
  /** Set once the client was told; what is then still in flight stays pending until its batch is decided. */
  isSettled = false
  readonly #onSettled: (submission: Submission, settlement: Settlement) => void

  constructor (of: {
    transport: Transport
    clientId: string | null
    readings: readonly ReadingRow[]
    letters: readonly DeadLetterRow[]
    bytes: number
    acceptedAtMs: number
    onSettled: (submission: Submission, settlement: Settlement) => void
  }) {
    this.transport = of.transport
    this.clientId = of.clientId
    this.readings = of.readings
    this.letters = of.letters
    this.bytes = of.bytes
    this.acceptedAtMs = of.acceptedAtMs
    this.#onSettled = of.onSettled
  }

  /** Units of the ledger: readings and dead letters. */
  get units (): number {
    return this.readings.length + this.letters.length
  }

  /** Tells the client, once. */
  settle (settlement: Settlement): void {
    if (this.isSettled) return
    this.isSettled = true
    this.#onSettled(this, settlement)
  }
}
