import type { Logger } from 'pino'
import type { Claim } from '../../db/queries/claim-offset.ts'
import type { CutEnd } from '../../db/queries/move-offset-back.ts'
import type { LogRecord } from '../kafka/records.ts'
import type { Decoded } from './decode.ts'
import { PartitionErasures } from './erasures.ts'
import type { Place } from './place.ts'

/** Why a partition is not read on. */
export const STOPS = ['out_of_range', 'unknown_schema', 'gone', 'cut_back'] as const
export type StopReason = typeof STOPS[number]

export interface Stop {
  readonly reason: StopReason
  /** Monotonic milliseconds of the last look at it. */
  atMs: number
  /** For a person. */
  readonly message: string
}

/** A record that was read and is not stored. */
export interface QueuedRecord {
  readonly offset: number
  /** Unix milliseconds, of Kafka. */
  readonly timestampMs: number
  /** Of its batch. */
  readonly leaderEpoch: number
  readonly bytes: number
  readonly key: Buffer | null
  readonly record: LogRecord
  /** Once it was taken into a batch. */
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
  /** Of the next record to read. */
  fetchOffset = 0
  /** Of the record before it; `null`: not known, or there is none. */
  fetchEpoch: number | null = null
  /** Of Kafka's next record. */
  highWatermark = 0
  stop: Stop | null = null
  /** Its position has to be moved back, once what was read is stored; it was read under this claim. */
  cut: CutEnd & { readonly of: Claim } | null = null
  /** A batch that holds records of it is being written. */
  isBusy = false
  /** Taken away: nothing more is read. */
  isRevoked = false
  /** It is not among the partitions of this sink any more. */
  isDropped = false
  /** Its records are not stored for now: those that are read are enough. */
  isWaiting = false
  /** What was asked for before it was claimed anew is not for it. */
  generation = 0
  /** What was wrong with it when it was last looked at; it stands until something of it is stored, or nothing is left. */
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

  /** Of the first record that is not stored. */
  get storedOffset (): number {
    return this.claim?.nextOffset ?? 0
  }

  get isEmpty (): boolean {
    return this.records === 0
  }

  /** That are read and not stored. */
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

  /** Something of it was stored, or nothing is left to store. */
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

  /** Is not read on. The same is logged once, however often it is found. */
  halt (reason: StopReason, message: string, logger: Logger): void {
    if (message !== this.#told) logger.error({ ...this.place, reason }, message)
    this.#told = message
    this.stop = this.trouble = { reason, message, atMs: performance.now() }
  }

  /** @param nextOffset - of the record behind them @param leaderEpoch - of the last one */
  add (records: readonly QueuedRecord[], nextOffset: number, leaderEpoch: number): void {
    for (const record of records) {
      this.#queue.push(record)
      this.#bytes += record.bytes
    }
    this.fetchOffset = nextOffset
    this.fetchEpoch = leaderEpoch
  }

  /** The record at `index` of those that are not stored. */
  at (index: number): QueuedRecord | undefined {
    return this.#queue[this.#from + index]
  }

  /** The first `count` are stored. @param claim - how far */
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

  /** Forgets what is read, so that it is claimed and read again. @returns what was taken into a batch and is not stored */
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
