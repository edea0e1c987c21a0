/**
 * The batcher: holds accepted readings that are not decided, and sends them to the journal in batches.
 *
 *   submit ──> waiting ── decideFlush ──> in flight (journal) ── decided ──> ledger, acknowledgement
 *                 │                            │
 *                 └── older than ackTimeout ───┴──> client told "unavailable"
 *
 * A waiting submission is dropped when its client is answered "unavailable". A submission in flight cannot be dropped:
 * its COMMIT may be under way. It stays pending in the ledger until its batch is decided, and is left out if the batch
 * is retried. Readings in the spool are durable, so they are acknowledged, and stay pending until they are replayed.
 *
 * Pressure: at the bound of readings or bytes, or while no reading can be made durable, `onPressure(true)` asks the
 * transports to stop reading; below half the bound `onPressure(false)` lets them read again. No reading is dropped for
 * lack of room.
 */
import type { UnavailableReason } from '../../broker/ingest.ts'
import { decideFlush, type FlushLimits } from './flush.ts'
import type { Batch, Committed } from './journal/journal.ts'
import type { Ledger } from './ledger.ts'
import type { Submission } from './submission.ts'

export interface BatcherLimits extends FlushLimits {
  /** Readings accepted and not yet decided. */
  readonly bufferReadingsMax: number
  readonly bufferBytesMax: number
  readonly ackTimeoutMs: number
}

export interface BatcherOptions {
  readonly limits: BatcherLimits
  readonly ledger: Ledger
  readonly commit: (batch: Batch) => Promise<Committed>
  readonly monotonicMs: () => number
  readonly onPressure: (isClosed: boolean) => void
  readonly onBatch: (batch: { readings: number, durationMs: number }) => void
  /** A submission became durable, before it is settled. Takes microseconds, never throws. */
  readonly onDurable?: ((submission: Submission) => void) | undefined
  /** Units that left for the spool. */
  readonly onSpooled: (units: number) => void
}

/** Age of a submission from which PostgreSQL counts as busy; a small batch usually takes a few milliseconds. */
const BUSY_MS = 100

/** Share of the bound below which reading starts again; the gap keeps thousands of sockets from flapping. */
const REOPEN_SHARE = 0.5

export class Batcher {
  readonly #options: BatcherOptions
  /**
   * Entries that have left are cleared at once. V8 moves the array to its old generation, and every entry that the
   * array still references would follow it there and stay until the next major collection.
   */
  #waiting: Array<Submission | undefined> = []
  /** Index of the oldest entry of `#waiting` that is still there. */
  #head = 0
  #waitingReadings = 0
  #waitingBytes = 0
  readonly #inFlight: Batch[] = []
  #pending = 0
  #bytes = 0
  #isAvailable = true
  #isClosed = false
  #isDraining = false
  #isScheduled = false
  #flushTimer: NodeJS.Timeout | null = null
  readonly #expiryTimer: NodeJS.Timeout
  #onEmpty: (() => void) | null = null

  constructor (options: BatcherOptions) {
    this.#options = options
    const sweepMs = Math.min(250, Math.max(10, options.limits.ackTimeoutMs / 20))
    this.#expiryTimer = setInterval(() => this.#expire(), sweepMs).unref()
  }

  /** Readings accepted and not yet decided; the ledger's `pending`. */
  get pending (): number {
    return this.#pending
  }

  get bytes (): number {
    return this.#bytes
  }

  /** Whether the transports were asked to stop reading. */
  get isClosed (): boolean {
    return this.#isClosed
  }

  get isAvailable (): boolean {
    return this.#isAvailable
  }

  /** Whether a full batch waits for a lane, or a submission has waited long, as a few large readings may. */
  get isBusy (): boolean {
    return this.#isBatchFull || this.#options.monotonicMs() - this.oldestAcceptedAtMs > BUSY_MS
  }

  /** Monotonic milliseconds: everything accepted earlier is decided. `Infinity` when nothing is pending. */
  get oldestAcceptedAtMs (): number {
    const oldest = [this.#waiting[this.#head], ...this.#inFlight.map(({ submissions }) => submissions[0])]
    return Math.min(...oldest.map((submission) => submission?.acceptedAtMs ?? Infinity))
  }

  submit (submission: Submission): void {
    this.#waiting.push(submission)
    this.#waitingReadings += submission.units
    this.#waitingBytes += submission.bytes
    this.#pending += submission.units
    this.#bytes += submission.bytes
    if (!this.#isClosed) this.#updatePressure()
    this.#scheduleSoon()
  }

  /** Whether anything can be made durable; while it cannot, the transports stop reading at once. */
  setAvailable (isAvailable: boolean): void {
    this.#isAvailable = isAvailable
    this.#updatePressure()
  }

  /** Drops abandoned submissions from a batch that is about to be retried. */
  dropAbandoned (batch: Batch): void {
    for (const submission of batch.submissions) {
      if (submission.isSettled) this.#decide(submission, 'abandoned')
    }
    batch.submissions = batch.submissions.filter((submission) => !submission.isSettled)
  }

  /** Sends everything at once; settles when nothing is pending, or after `timeoutMs`. */
  async drain (timeoutMs: number): Promise<void> {
    this.#isDraining = true
    this.#schedule()
    if (this.#pending === 0) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeoutMs)
      this.#onEmpty = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  /** Gives up undecided submissions, unacknowledged, and stops. */
  stop (): void {
    clearInterval(this.#expiryTimer)
    if (this.#flushTimer !== null) clearTimeout(this.#flushTimer)
    for (const submission of this.#take(Infinity, Infinity)) this.#abandon(submission, 'stopping')
    for (const batch of this.#inFlight) {
      for (const submission of batch.submissions) submission.settle('stopping')
    }
  }

  /** Runs after the rest of this turn of the event loop, so that the packets of one read share a batch. */
  #scheduleSoon (): void {
    if (this.#isScheduled) return
    // A timer that is already set fires soon enough, unless the batch is full by now.
    if (this.#flushTimer !== null && !this.#isBatchFull) return
    this.#isScheduled = true
    setImmediate(() => {
      this.#isScheduled = false
      this.#schedule()
    })
  }

  get #isBatchFull (): boolean {
    const { batchReadingsMax, batchBytesMax } = this.#options.limits
    return this.#waitingReadings >= batchReadingsMax || this.#waitingBytes >= batchBytesMax
  }

  #schedule (): void {
    const { limits } = this.#options
    for (;;) {
      const oldest = this.#waiting[this.#head]
      const waitMs = oldest === undefined
        ? null
        : decideFlush({
          readings: this.#waitingReadings,
          bytes: this.#waitingBytes,
          ageMs: this.#isDraining ? Infinity : this.#options.monotonicMs() - oldest.acceptedAtMs,
          batchesInFlight: this.#inFlight.length
        }, limits)
      if (waitMs !== 0) {
        if (waitMs !== null) {
          this.#flushTimer ??= setTimeout(() => {
            this.#flushTimer = null
            this.#schedule()
          }, waitMs)
        }
        return
      }
      this.#flush()
    }
  }

  #flush (): void {
    if (this.#flushTimer !== null) {
      clearTimeout(this.#flushTimer)
      this.#flushTimer = null
    }
    const { limits, commit, monotonicMs, onBatch } = this.#options
    const submissions = this.#take(limits.batchReadingsMax, limits.batchBytesMax)
    const batch: Batch = { submissions }
    this.#inFlight.push(batch)
    const startedAtMs = monotonicMs()
    const readings = submissions.reduce((sum, submission) => sum + submission.units, 0)
    commit(batch).then((committed) => {
      onBatch({ readings, durationMs: monotonicMs() - startedAtMs })
      this.#finish(batch, committed)
    }, () => {
      // Given up at a stop, or after a defect of the gateway: the clients keep their readings.
      this.#finish(batch, 'abandoned')
    })
  }

  #finish (batch: Batch, outcome: Committed | 'abandoned'): void {
    this.#inFlight.splice(this.#inFlight.indexOf(batch), 1)
    const { onDurable } = this.#options
    for (const submission of batch.submissions) {
      this.#decide(submission, outcome)
      submission.isStored = outcome === 'stored'
      if (outcome !== 'abandoned') onDurable?.(submission)
      submission.settle(outcome === 'abandoned' ? 'failed' : 'durable')
    }
    // If V8 has moved the array to its old generation, its entries stay until the next major collection.
    batch.submissions.length = 0
    this.#updatePressure()
    this.#schedule()
  }

  /** Removes submissions from the front until a batch is full; one submission is never split. */
  #take (readingsMax: number, bytesMax: number): Submission[] {
    const taken: Submission[] = []
    let readings = 0
    let bytes = 0
    while (this.#head < this.#waiting.length) {
      const submission = this.#waiting[this.#head]!
      if (taken.length > 0 && (readings + submission.units > readingsMax || bytes + submission.bytes > bytesMax)) break
      taken.push(submission)
      readings += submission.units
      bytes += submission.bytes
      this.#waiting[this.#head++] = undefined
    }
    this.#waitingReadings -= readings
    this.#waitingBytes -= bytes
    this.#compact()
    return taken
  }

  #compact (): void {
    if (this.#head === this.#waiting.length) {
      this.#waiting = []
      this.#head = 0
    } else if (this.#head > 10_000) {
      this.#waiting = this.#waiting.slice(this.#head)
      this.#head = 0
    }
  }

  #expire (): void {
    const deadlineMs = this.#options.monotonicMs() - this.#options.limits.ackTimeoutMs
    for (const batch of this.#inFlight) {
      for (const submission of batch.submissions) {
        if (submission.acceptedAtMs <= deadlineMs) submission.settle('timeout')
      }
    }
    for (;;) {
      const oldest = this.#waiting[this.#head]
      if (oldest === undefined || oldest.acceptedAtMs > deadlineMs) break
      this.#waiting[this.#head++] = undefined
      this.#waitingReadings -= oldest.units
      this.#waitingBytes -= oldest.bytes
      this.#abandon(oldest, 'timeout')
    }
    this.#compact()
    this.#updatePressure()
  }

  #abandon (submission: Submission, reason: UnavailableReason): void {
    this.#decide(submission, 'abandoned')
    submission.settle(reason)
  }

  /** Removes a submission from the ledger's pending and from the bounds. */
  #decide (submission: Submission, outcome: Committed | 'abandoned'): void {
    const { ledger, onSpooled } = this.#options
    const spooled = ledger.decided(submission, outcome)
    if (spooled > 0) onSpooled(spooled)
    this.#pending -= submission.units
    this.#bytes -= submission.bytes
    if (this.#pending === 0 && this.#onEmpty !== null) {
      // The acknowledgements of this batch leave first.
      setImmediate(this.#onEmpty)
      this.#onEmpty = null
    }
  }

  #updatePressure (): void {
    const { bufferReadingsMax, bufferBytesMax } = this.#options.limits
    const share = Math.max(this.#pending / bufferReadingsMax, this.#bytes / bufferBytesMax)
    const isClosed = !this.#isAvailable || share >= (this.#isClosed ? REOPEN_SHARE : 1)
    if (isClosed === this.#isClosed) return
    this.#isClosed = isClosed
    this.#options.onPressure(isClosed)
  }
}
