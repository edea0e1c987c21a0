import type { Logger } from 'pino'
import type { Claim } from '../../db/queries/claim-offset.ts'
import type { CutEnd } from '../../db/queries/move-offset-back.ts'
import type { LogRecord } from '../kafka/records.ts'
import type { Decoded } from './decode.ts'
import { PartitionErasures } from './erasures.ts'
import type { Place } from './place.ts'

/** Reasons why a partition is stopped. */
export const STOPS = ['out_of_range', 'unknown_schema', 'gone', 'cut_back'] as const
export type StopReason = typeof STOPS[number]

export interface Stop {
  readonly reason: StopReason
  /** Monotonic milliseconds of the last check. */
  atMs: number
  /** Message for the operator. */
  readonly message: string
}

/** A record that was read and is not stored. */
export interface QueuedRecord {
  readonly offset: number
  /** Kafka's time of the record, in Unix milliseconds. */
  readonly timestampMs: number
  /** Leader epoch of its batch. */
  readonly leaderEpoch: number
  readonly bytes: number
  readonly key: Buffer | null
  readonly record: LogRecord
  /** Set once it was taken into a batch. */
  decoded: Decoded | null
}

export const PARTITION_STATES = ['claiming', 'reading', 'full', ...STOPS] as const
export type PartitionState = typeof PARTITION_STATES[number]

/**
 * One partition that this sink owns.
 *
 *   claiming ──> reading ──> full ──> reading …
 *      ▲            └──> stopped (STOPS) ───────────────────────────────┐
 *      └── another sink claimed it, or some time after it was stopped ──┘
 */
export class SinkPartition {
  /** The name of the topic is empty until it is known. */
  place: Place
  claim: Claim | null = null
  /** Offset of the next record to read. */
  fetchOffset = 0
  /** Leader epoch of the record before it; `null`: not known, or there is none. */
  fetchEpoch: number | null = null
  /** Offset behind the last record that Kafka has. */
  highWatermark = 0
  stop: Stop | null = null
  /** Where to move the position back to once all that was read is stored. `of` is the claim under which it was read. */
  cut: CutEnd & { readonly of: Claim } | null = null
  /** A batch that holds records of it is being written. */
  isBusy = false
  /** Whether the group takes it away, so that nothing more is read. */
  isRevoked = false
  /** Whether it is no longer a partition of this sink. */
  isDropped = false
  /** Whether its records are not stored for now, so that no more are read than it holds. */
  isWaiting = false
  /** Incremented by `reset`; answers to fetches of an earlier generation are ignored. */
  generation = 0
  /** Why it was last stopped; cleared once some of it is stored, or nothing is left to store. */
  trouble: Stop | null = null
  /** Monotonic milliseconds of the last batch, or of the last time that nothing was left to store. */
  progressAtMs: number
  readonly erasures = new PartitionErasures()
  /** Monotonic milliseconds since when a record waits until PostgreSQL is cleared of its device; `null`: none does. */
  heldSinceMs: number | null = null
  /** A marker of an erasure is being noted. */
  isLearning = false
  #queue: QueuedRecord[] = []
  #from = 0
  #bytes = 0
  #told = ''

  constructor (place: Place, nowMs: number) {
    this.place = place
    this.progressAtMs = nowMs
  }

  get bytes (): number {
    return this.#bytes
  }

  /** Offset of the first record that is not stored. */
  get storedOffset (): number {
    return this.claim?.nextOffset ?? 0
  }

  get isEmpty (): boolean {
    return this.records === 0
  }

  /** Number of records that are read and not stored. */
  get records (): number {
    return this.#queue.length - this.#from
  }

  get lag (): number {
    return Math.max(0, this.highWatermark - this.storedOffset)
  }

  /** Unix milliseconds of the oldest record that is read and not stored; `null`: there is none. */
  get oldestMs (): number | null {
    return this.#queue[this.#from]?.timestampMs ?? null
  }

  state (bytesMax: number): PartitionState {
    if (this.stop !== null) return this.stop.reason
    if (this.claim === null) return 'claiming'
    return this.#bytes >= bytesMax ? 'full' : 'reading'
  }

  /** Called when some of it was stored, or nothing is left to store. */
  progress (): void {
    this.progressAtMs = performance.now()
    this.trouble = this.stop
  }

  begin (claim: Claim): void {
    this.claim = claim
    this.fetchOffset = claim.nextOffset
    this.fetchEpoch = claim.leaderEpoch
    this.stop = null
  }

  /** Stops the partition. The same message in a row is logged once. */
  halt (reason: StopReason, message: string, logger: Logger): void {
    if (message !== this.#told) logger.error({ ...this.place, reason }, message)
    this.#told = message
    this.stop = this.trouble = { reason, message, atMs: performance.now() }
  }

  /** @param nextOffset - offset behind the last record @param leaderEpoch - of the last record */
  add (records: readonly QueuedRecord[], nextOffset: number, leaderEpoch: number): void {
    for (const record of records) {
      this.#queue.push(record)
      this.#bytes += record.bytes
    }
    this.fetchOffset = nextOffset
    this.fetchEpoch = leaderEpoch
  }

  /** The record at `index` among those that are not stored. */
  at (index: number): QueuedRecord | undefined {
    return this.#queue[this.#from + index]
  }

  /** Removes the first `count` records, which are stored. @param claim - the new position */
  release (count: number, claim: Claim): void {
    for (const { bytes } of this.#queue.slice(this.#from, this.#from + count)) this.#bytes -= bytes
    this.#from += count
    if (this.#from * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#from)
      this.#from = 0
    }
    this.claim = claim
    this.progress()
  }

  /**
   * Forgets its records, which are read again after a new claim.
   * @returns those that were taken into a batch and are not stored
   */
  reset (): Decoded[] {
    const decoded = this.#queue.slice(this.#from).flatMap((queued) => queued.decoded ?? [])
    this.#queue = []
    this.#from = 0
    this.#bytes = 0
    this.claim = null
    this.heldSinceMs = null
    this.generation++
    return decoded
  }
}
