/**
 * The replayer: brings spooled batches into PostgreSQL or Kafka, oldest first, beside new traffic.
 *
 *   spool ── read, decode ──> entries ── a set ──> one transaction ──> ledger ──> release
 *                                ▲         │
 *                                └─ smaller, entries not taken
 *
 * One transaction at a time on its own connection, while new traffic has two. So the backlog shrinks whenever
 * PostgreSQL takes more than comes in, and new readings never wait behind old ones. The result does not depend on the
 * order. The spool is quick, so its batches are small; many of them share one transaction here, and the next ones are
 * read and decoded while it is under way. Decoded entries, and the set of one transaction, are bounded in bytes
 * (replay-set.ts): a large batch is cut.
 *
 * A set that PostgreSQL refuses gets smaller each time, down to one reading. That reading is tried alone, with generous
 * time. If PostgreSQL refuses it then, and stores the next one, it is set aside, and later entries continue.
 *
 * The first set after an outage is the trial on which the circuit closes. A later set that fails does not open the
 * circuit, because the set may be at fault: new traffic and the pings detect an outage.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { toRetryDelayMs } from './journal.ts'
import { type Entry, type Loaded, ReplayQueue, sumWeights } from './replay-queue.ts'
import type { ReplayerOptions } from './replayer-options.ts'
import { isAway, partDecided, SetSize, toReplayed, weigh } from './replay-set.ts'
import { decodeSubmissions, type SpooledSubmission } from './spool/codec.ts'
import type { Position } from './spool/reader.ts'
import type { Submission } from '../submission.ts'
import { withoutErased } from './without-erased.ts'

/** Bounds the cost of a missed wake-up; also the pause after a failed read of the disk. */
const IDLE_MS = 1000
/** Longest that a set may take; sets that take a quarter of a second get smaller already. */
const SET_TIMEOUT_MS_MIN = 5000
/** The same for a single reading; a stop waits for it. */
const ALONE_TIMEOUT_MS_MIN = 10_000
/** Failures of one reading, each beside another reading that is stored, before it is set aside. */
const ALONE_TRIES = 3
/** Failures follow each other quickly. Each is counted; one in this time is logged. */
const TOLD_EVERY_MS = 10_000

/** A set that was not taken. */
interface Failure {
  readonly error: unknown
  /** Undecided entries of the set, which are back at the front of the queue. */
  readonly again: readonly Entry[]
}

export class Replayer {
  readonly #options: ReplayerOptions
  readonly #stopping = new AbortController()
  readonly #size = new SetSize()
  readonly #setTimeoutMs: number
  readonly #aloneTimeoutMs: number
  readonly #queue = new ReplayQueue()
  #isReadable = true
  #readAgainAtMs = 0
  #failures = 0
  #untold = 0
  #toldAtMs = -Infinity
  #pending: number
  #replayed = 0
  /** Damage of the spool that the ledger has counted. */
  #damaged = 0
  #wake: (() => void) | null = null
  #running: Promise<void> = Promise.resolve()

  constructor (options: ReplayerOptions) {
    this.#options = options
    this.#setTimeoutMs = Math.max(SET_TIMEOUT_MS_MIN, options.commitTimeoutMs)
    this.#aloneTimeoutMs = Math.max(ALONE_TIMEOUT_MS_MIN, options.commitTimeoutMs)
    this.#pending = options.spool.readings
    options.ledger.received('spool', this.#pending)
  }

  /** Units of the ledger in the spool. */
  get pending (): number {
    return this.#pending
  }

  /** Units brought into the target since the start. */
  get replayed (): number {
    return this.#replayed
  }

  /**
   * Whether an entry waits that can be the trial of the circuit. If the disk cannot be read there is none, and the
   * circuit closes without a trial.
   */
  get hasTrial (): boolean {
    return this.#isReadable && !this.#options.spool.isEmpty
  }

  /** Units moved from the batcher into the spool. */
  add (units: number): void {
    this.#pending += units
  }

  start (): void {
    this.#running = this.#run()
  }

  /** Wakes the loop: a batch was spooled, or the circuit changed. */
  wake (): void {
    this.#wake?.()
  }

  /** Entries that are not replayed by then stay in the spool. */
  async stop (): Promise<void> {
    this.#stopping.abort()
    this.wake()
    await this.#running
  }

  async #run (): Promise<void> {
    const { circuit } = this.#options
    while (!this.#stopping.signal.aborted) {
      if (circuit.state !== 'open') await this.#load()
      this.#settleDamage()
      await this.#release()
      if (this.#queue.isEmpty || circuit.state === 'open') {
        await this.#idle()
        continue
      }
      const set = this.#take(this.#size.weight)
      // If the gateway stops now, records that were read and not replayed are not released, so they are read again.
      const loading = this.#load()
      if (set.length > 0) await this.#replay(set)
      await loading
    }
  }

  /** Reads ahead as much as one set may hold, in whole records. */
  async #load (): Promise<void> {
    const { spool, logger } = this.#options
    if (performance.now() < this.#readAgainAtMs) return
    let { weight } = this.#queue
    try {
      while (weight < this.#size.weight && !this.#stopping.signal.aborted) {
        const record = await spool.read()
        this.#isReadable = true
        if (record === null) return
        weight += await this.#decode(record.payload, record.position)
      }
    } catch (error) {
      this.#isReadable = false
      this.#readAgainAtMs = performance.now() + IDLE_MS
      logger.error({ err: error }, 'the spool cannot be read; trying again')
    }
  }

  /** @returns the record's weight; 0 if it cannot be decoded and was set aside */
  async #decode (payload: Buffer, position: Position): Promise<number> {
    const { spool, ledger } = this.#options
    const { isFound, readings } = position
    if (!position.isCounted) {
      ledger.received('spool', readings)
      this.#pending += readings
    }
    const record = this.#queue.add(position)
    let weight = 0
    try {
      // The ledger of this run counts records of an earlier run as received from `spool`.
      const toEntry = (of: SpooledSubmission) => toReplayed(isFound ? { ...of, transport: 'spool' } : of)
      const submissions = (await decodeSubmissions(payload)).map(toEntry)
      for (const submission of submissions) weight += this.#queue.push(submission, record)
      record.remaining = submissions.reduce((sum, { units }) => sum + units, 0)
    } catch (error) {
      record.remaining = 0
      spool.setAside(position, error)
      this.#pending -= readings
      ledger.refused(isFound ? 'spool' : 'mqtt', 'unavailable', readings)
    }
    return weight
  }

  /** Entries from the front, without readings that were erased since they were spooled; empty if none are left. */
  #take (weightMax: number): Entry[] {
    for (;;) {
      const kept = this.#queue.take(weightMax).flatMap((entry) => this.#leaveOut(entry) ?? [])
      if (kept.length > 0 || this.#queue.isEmpty) return kept
    }
  }

  #leaveOut (entry: Entry): Entry | null {
    const { submission, record } = entry
    const kept = withoutErased(submission, this.#options.erased?.of(record.position.segment) ?? [])
    if (kept === submission) return entry
    const units = submission.units - (kept?.units ?? 0)
    record.remaining -= units
    this.#pending -= units
    this.#options.ledger.refused(submission.transport, 'erased', units)
    return kept === null ? null : { ...entry, submission: kept, weight: weigh(kept) }
  }

  async #replay (set: readonly Entry[]): Promise<void> {
    const isAlone = set.length === 1 && set[0]!.submission.units === 1
    const startedAtMs = performance.now()
    const failure = await this.#write(set, isAlone && set[0]!.tries > 0 ? this.#aloneTimeoutMs : this.#setTimeoutMs)
    const tookMs = performance.now() - startedAtMs
    if (failure !== null) {
      if (isAlone) await this.#failAlone(failure)
      else await this.#fail(set, failure)
      return
    }
    this.#failures = 0
    this.#size.succeed(sumWeights(set), tookMs)
    this.#options.circuit.succeed()
    await this.#release()
    // Replay takes half of the time while new readings wait: the backlog may last longer, but devices must not wait.
    if (this.#options.isBusy()) await this.#pause(tookMs)
  }

  /** Undecided entries that the target did not take return to the front of the queue. */
  async #write (set: readonly Entry[], timeoutMs: number): Promise<Failure | null> {
    const startedAtMs = performance.now()
    try {
      await this.#options.write(set.map(({ submission }) => submission), timeoutMs)
    } catch (error) {
      this.#tell(set, error, performance.now() - startedAtMs)
      const again: Entry[] = []
      for (const entry of set) {
        const { decided, rest } = partDecided(entry.submission)
        if (decided !== null) this.#settle(decided, entry.record)
        if (rest.units > 0) {
          again.push(rest === entry.submission ? entry : { ...entry, submission: rest, weight: weigh(rest) })
        }
      }
      this.#queue.putBack(again)
      return { error, again }
    }
    this.#options.onReplayed?.(new Set(set.map(({ record }) => record.position.segment)))
    for (const { submission, record } of set) this.#settle(submission, record)
    return null
  }

  async #fail (set: readonly Entry[], { error }: Failure): Promise<void> {
    this.#size.fail(sumWeights(set))
    if (isAway(error)) await this.#failTrial(error)
    else await this.#pause(toRetryDelayMs(this.#failures++))
  }

  /** Nothing shows that the target takes anything now. */
  async #failTrial (error: unknown): Promise<void> {
    const { circuit } = this.#options
    if (circuit.state === 'half-open') circuit.fail(error)
    else await this.#pause(toRetryDelayMs(this.#failures++))
  }

  /** One reading was not taken: the target is at fault, unless it takes the next one. */
  async #failAlone ({ error, again: [entry] }: Failure): Promise<void> {
    if (entry === undefined) return
    this.#size.fail(entry.weight)
    if (isAway(error)) return await this.#failTrial(error)
    this.#queue.take(1)
    // Alone, the reading has more time. Only a failure beside another reading that is stored counts against it.
    const isOtherTaken = entry.tries > 0 && await this.#isNextTaken()
    const tries = entry.tries === 0 || isOtherTaken ? entry.tries + 1 : entry.tries
    this.#queue.putBack([{ ...entry, tries }])
    if (tries > ALONE_TRIES) await this.#setAside(error)
    else if (entry.tries > 0 && !isOtherTaken) await this.#failTrial(error)
  }

  async #isNextTaken (): Promise<boolean> {
    const next = this.#take(1)
    if (next.length === 0 || await this.#write(next, this.#setTimeoutMs) !== null) return false
    this.#options.circuit.succeed()
    return true
  }

  /** Keeps the first entry on disk for the operator; the entries behind it continue. */
  async #setAside (cause: unknown): Promise<void> {
    const { spool, ledger, target, logger } = this.#options
    const [{ submission, record }] = this.#queue.take(1) as [Entry]
    try {
      const file = await spool.keepAside(submission, (cause as Error).message)
      logger.error({ err: cause, file }, `${target.name} refuses one reading of the spool even alone; it is set aside in ` +
        'the directory of the spool')
    } catch (error) {
      logger.error({ err: error }, 'a refused reading of the spool cannot be set aside; trying again')
      this.#queue.putBack([{ submission, record, weight: weigh(submission), tries: ALONE_TRIES }])
      await this.#pause(IDLE_MS)
      return
    }
    record.remaining -= submission.units
    this.#pending -= submission.units
    ledger.refused(submission.transport, 'unavailable', submission.units)
    await this.#release()
  }

  #tell (set: readonly Entry[], error: unknown, tookMs: number): void {
    this.#untold++
    const nowMs = performance.now()
    if (nowMs - this.#toldAtMs < TOLD_EVERY_MS || this.#stopping.signal.aborted) return
    const readings = set.reduce((sum, { submission }) => sum + submission.units, 0)
    this.#options.logger.warn({
      err: error, readings, weight: sumWeights(set), tookMs: Math.round(tookMs), failures: this.#untold
    },
    `${this.#options.target.name} did not take readings of the spool; trying again with fewer at a time`)
    this.#toldAtMs = nowMs
    this.#untold = 0
  }

  /** Enters the outcome of a message, or of a part of one, into the ledger. */
  #settle (submission: Submission, record: Loaded): void {
    const { units } = submission
    this.#options.ledger.decided(submission, this.#options.target.outcome)
    record.remaining -= units
    this.#pending -= units
    this.#replayed += units
  }

  /** Releases completed records, in their order. */
  async #release (): Promise<void> {
    const position = this.#queue.removeDone()
    if (position === null) return
    try {
      await this.#options.spool.release(position)
    } catch (error) {
      // Harmless: the next release makes up for it, and until then a restart replays more.
      this.#options.logger.warn({ err: error }, 'the read position of the spool could not be written')
    }
  }

  /** Readings that the disk destroyed leave the ledger's pending; the spool has logged their place. */
  #settleDamage (): void {
    const { spool, ledger } = this.#options
    const lost = spool.damage.readings - this.#damaged
    if (lost === 0) return
    this.#damaged += lost
    ledger.refused('spool', 'unavailable', lost)
    this.#pending -= lost
  }

  async #idle (): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, IDLE_MS).unref()
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
    this.#wake = null
  }

  async #pause (ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#stopping.signal }).catch(() => {})
  }
}
