import type { UnavailableReason } from '../../broker/ingest.ts'
import type { DeadLetterRow, ReadingRow } from '../../db/rows.ts'
import type { Fault } from '../../schemas/fault.ts'
import type { Transport } from '../../schemas/transport.ts'

/**
 * Memory of one accepted reading besides its payload: the row, its fields, the held acknowledgement (measured: 400 to
 * 900).
 */
export const READING_OVERHEAD_BYTES = 512

/** A reading that the database itself refused, found by bisection. */
export interface DatabaseRejection {
  readonly row: ReadingRow
  readonly errors: readonly Fault[]
}

/** Whether a message is durable, so that it may be acknowledged, or why not, so that its client keeps it. */
export type Settlement = 'durable' | UnavailableReason

export interface SubmissionOptions {
  readonly transport: Transport
  readonly clientId: string | null
  readonly readings: readonly ReadingRow[]
  readonly letters: readonly DeadLetterRow[]
  /** Charged against the buffer's bound. */
  readonly bytes: number
  /** Monotonic milliseconds. */
  readonly acceptedAtMs: number
  /** Whether a refused reading refuses all of them, as over HTTP, or only itself. */
  readonly isAllOrNothing: boolean
  readonly onSettled: (submission: Submission, settlement: Settlement) => void
}

const NONE: readonly never[] = []

/**
 * One message of a client that is to become durable. Its contents go into one batch together, and its one
 * acknowledgement waits for all of them.
 */
export class Submission {
  readonly transport: Transport
  readonly clientId: string | null
  readonly readings: readonly ReadingRow[]
  readonly letters: readonly DeadLetterRow[]
  readonly bytes: number
  readonly acceptedAtMs: number
  readonly isAllOrNothing: boolean
  /** Indexes into `readings` that are decided; `null` until its batch has to be bisected. A retry leaves them out. */
  decided: Set<number> | null = null
  /** How many of `readings` were stored before. */
  duplicates = 0
  /** PostgreSQL has it; otherwise it waits in the spool or in Kafka. */
  isStored = false
  /** Set once the client has its answer; readings still in flight stay pending until their batch is decided. */
  isSettled = false
  #rejections: DatabaseRejection[] | null = null
  readonly #onSettled: SubmissionOptions['onSettled']

  constructor (options: SubmissionOptions) {
    this.transport = options.transport
    this.clientId = options.clientId
    this.readings = options.readings
    this.letters = options.letters
    this.bytes = options.bytes
    this.acceptedAtMs = options.acceptedAtMs
    this.isAllOrNothing = options.isAllOrNothing
    this.#onSettled = options.onSettled
  }

  /** Units of the ledger: readings and dead letters. */
  get units (): number {
    return this.readings.length + this.letters.length
  }

  /** Readings that the database itself refused. */
  get rejections (): readonly DatabaseRejection[] {
    return this.#rejections ?? NONE
  }

  reject (rejection: DatabaseRejection): void {
    this.#rejections ??= []
    this.#rejections.push(rejection)
  }

  /** Readings whose outcome is not known yet. */
  get undecided (): readonly ReadingRow[] {
    const { decided } = this
    return decided === null ? this.readings : this.readings.filter((_, index) => !decided.has(index))
  }

  /** Answers the client, once. */
  settle (settlement: Settlement): void {
    if (this.isSettled) return
    this.isSettled = true
    this.#onSettled(this, settlement)
  }
}
