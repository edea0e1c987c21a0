/**
 * Stores what was read, in batches over several partitions.
 *
 *   queues of the partitions ──> slices ──> one transaction: rows, and the offset of each partition ──> queues released
 *                                  │
 *                                  ├─ another sink owns one (VS001): it is left out, the others are stored
 *                                  ├─ a device is being erased (VS002): its records are checked again
 *                                  ├─ a row is refused: it becomes a dead letter, the others are stored
 *                                  └─ PostgreSQL is away: retried with growing delays; queues fill, and fetching stops
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { classifyError } from '../../db/sqlstate.ts'
import { isUnseen, toReplaced } from '../../db/queries/move-offsets.ts'
import type { DeadLetterRow, ReadingRow } from '../../db/rows.ts'
import type { DeadLetterCaps } from '../ingest/dead-letter-caps.ts'
import { isAway, toReplayed } from '../ingest/journal/replay-set.ts'
import type { Ledger } from '../ingest/ledger.ts'
import type { Submission } from '../ingest/submission.ts'
import { type Decoded, decode, isUndecided } from './decode.ts'
import type { SinkLimits } from './limits.ts'
import type { Move } from './offset-writer.ts'
import type { ErasureMarker } from '../kafka/erasure-record.ts'
import type { QueuedRecord, SinkPartition } from './partition.ts'
import { toKey } from './place.ts'
import type { Storage, Wiring } from './reader.ts'

const TOLD_EVERY_MS = 10_000

/** The part of a batch that is from one partition. */
export interface Slice {
  readonly partition: SinkPartition
  readonly move: Move
  readonly records: readonly Decoded[]
}

/** Makes batches durable. */
export interface BatchWriter {
  /**
   * @param slices - the records of which the submissions were made, by partition
   * @returns once everything is durable and the offsets are moved
   * @throws VS001 and VS002 of PostgreSQL, or the reason why it cannot be done now
   */
  write (submissions: readonly Submission[], moves: readonly Move[], slices: readonly Slice[]): Promise<void>
}

export interface StoringOptions extends Wiring, Pick<Storage, 'beginsAtFirst'> {
  readonly writer: BatchWriter
  /** Destination of batches, as messages name it. */
  readonly target: string
  /** A reason for the operator why the target does not take batches; `null`: none that can be told. */
  readonly explain?: (error: unknown) => string | null
  readonly caps: Pick<DeadLetterCaps, 'admit'>
  readonly ledger: Ledger
  /** Called when the readings and letters of a submission are committed. */
  readonly onCommitted?: (submission: Submission) => void
  readonly onBatch: (batch: { readonly readings: number, readonly durationMs: number }) => void
  readonly readingsMax: number
  readonly limits: SinkLimits
  readonly logger: Logger
}

export class Storing implements Storage {
  readonly beginsAtFirst: boolean
  readonly #options: StoringOptions
  readonly #stopping = new AbortController()
  #working: Array<Promise<void>> = []
  #wakes: Array<() => void> = []
  #isStarted = false
  #isUp = true
  #why: string | null = null
  #failures = 0
  #toldAtMs = -Infinity
  #readingsMax: number
  #pending = 0
  #replaced = 0

  constructor (options: StoringOptions) {
    this.#options = options
    this.beginsAtFirst = options.beginsAtFirst === true
    this.#readingsMax = options.readingsMax
  }

  /** Whether the target took the last batch. */
  get isUp (): boolean {
    return this.#isUp
  }

  warnings (): readonly string[] {
    const { target } = this.#options
    return this.#isUp ? [] : [`${target} does not take batches; their records wait in Kafka${this.#why === null ? '' : `: ${this.#why}`}`]
  }

  /** Whether every lane is writing a batch. */
  get isBusy (): boolean {
    return this.#wakes.length === 0 && this.#isStarted
  }

  /** Readings and letters that were taken into a batch and are not decided. */
  get pending (): number {
    return this.#pending
  }

  /** How often another sink had claimed a partition before its batch was stored. */
  get replaced (): number {
    return this.#replaced
  }

  start (): void {
    this.#isStarted = true
    this.#working = Array.from({ length: this.#options.limits.batchesInFlightMax }, () => this.#work())
  }

  /** Called when records have arrived. */
  wake (): void {
    for (const wake of this.#wakes.splice(0)) wake()
  }

  /** Settles when no batch is under way. Records that are not stored by then stay in Kafka. */
  async stop (): Promise<void> {
    this.#stopping.abort()
    this.wake()
    await Promise.all(this.#working)
  }

  /** Called with records that were taken into a batch and will be read again, perhaps by another sink. */
  giveUp (records: readonly Decoded[]): void {
    const undecided = records.filter(isUndecided).length
    this.#options.ledger.refused('kafka', 'unavailable', undecided)
    this.#pending -= undecided
  }

  async #work (): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      const slices = this.#take()
      if (slices.length === 0) {
        await new Promise<void>((resolve) => { this.#wakes.push(resolve) })
        continue
      }
      for (const { partition } of slices) partition.isBusy = true
      const failure = await this.#store(slices)
      for (const { partition } of slices) {
        partition.isBusy = false
        this.#options.onIdle(partition)
      }
      if (failure === null) this.#succeed()
      else await this.#fail(failure)
    }
  }

  /** Starts with the fullest partition, so that a backlog is written in large batches, two at a time. */
  #take (): Slice[] {
    const { partitions, limits } = this.#options
    const full = [...partitions()].filter(({ isBusy, isEmpty, claim }) => !isBusy && !isEmpty && claim !== null)
      .sort((a, b) => b.bytes - a.bytes)
    const slices: Slice[] = []
    let [readings, bytes] = [this.#readingsMax, limits.batchBytesMax]
    for (const partition of full) {
      if (readings <= 0 || bytes <= 0) break
      const slice = this.#takeOf(partition, readings, bytes)
      if (slice === null) continue
      readings -= slice.records.length
      bytes -= slice.bytes
      slices.push(slice)
    }
    return slices
  }

  #takeOf (partition: SinkPartition, readingsMax: number, bytesMax: number): (Slice & { readonly bytes: number }) | null {
    const records: Decoded[] = []
    let bytes = 0
    let { nextOffset, leaderEpoch } = partition.claim!
    let isHeld = false
    while (records.length < readingsMax && bytes < bytesMax) {
      const queued = partition.at(records.length)
      if (queued === undefined) {
        // The position also passes control batches (transaction markers), which hold no records.
        nextOffset = partition.fetchOffset
        leaderEpoch = partition.fetchEpoch
        break
      }
      const decoded = queued.decoded ?? this.#decode(partition, queued)
      if (decoded === null) break
      if (decoded.kind === 'marker' && !partition.erasures.isMet(decoded.marker.marker)) {
        this.#learn(partition, decoded.marker, queued.offset)
        break
      }
      const verdict = partition.erasures.judge(decoded, queued.offset, queued.record)
      isHeld = verdict === 'hold'
      if (isHeld) break
      records.push(verdict === 'drop' ? this.#dropErased(queued) : decoded)
      bytes += queued.bytes
      nextOffset = queued.offset + 1
      leaderEpoch = queued.leaderEpoch
    }
    partition.heldSinceMs = isHeld ? partition.heldSinceMs ?? performance.now() : null
    if (records.length === 0) return null
    const from = partition.claim!
    return { partition, move: { from, to: { ...from, nextOffset, leaderEpoch } }, records, bytes }
  }

  /** @returns `null` if the partition must wait for a newer sink */
  #decode (partition: SinkPartition, queued: QueuedRecord): Decoded | null {
    const { caps, ledger } = this.#options
    const decoded = decode(queued.record, { ...partition.place, ...queued }, caps)
    if (decoded.kind === 'unknown-schema') {
      this.#stopUnknown(partition, queued.offset, decoded.schema)
      return null
    }
    queued.decoded = decoded
    if (decoded.kind === 'marker') return decoded
    ledger.received('kafka', 1)
    if (decoded.kind === 'over-cap') ledger.refused('kafka', 'over_cap', 1)
    else this.#pending++
    return decoded
  }

  #dropErased (queued: QueuedRecord): Decoded {
    this.#options.ledger.refused('kafka', 'erased', 1)
    this.#pending--
    queued.decoded = { kind: 'erased' }
    return queued.decoded
  }

  /** Notes a marker. Records before it are stored meanwhile. */
  #learn (partition: SinkPartition, marker: ErasureMarker, offset: number): void {
    if (partition.isLearning) return
    partition.isLearning = true
    this.#options.erasures.learn(partition, marker, offset).then(() => { this.wake() }, (error: unknown) => {
      // Tried again within a second: the reader wakes the storage each second.
      this.#options.logger.warn({ err: error, ...partition.place }, 'the marker of an erasure cannot be noted now; its partition waits')
    }).finally(() => { partition.isLearning = false })
  }

  #stopUnknown (partition: SinkPartition, offset: number, schema: string): void {
    const { topic, partition: number } = partition.place
    partition.halt('unknown_schema', `record ${offset} of partition ${number} of ${topic} has the schema ${schema}, which this version ` +
      'does not know: upgrade the sinks; the partition waits', this.#options.logger)
  }

  /**
   * @returns the error because of which some of it is not stored; `null`: all is stored, or is to be taken again at
   *   once
   */
  async #store (slices: readonly Slice[]): Promise<unknown> {
    let left = slices
    while (left.length > 0) {
      const startedAtMs = performance.now()
      const submissions = toSubmissions(left.flatMap(({ records }) => records))
      try {
        await this.#options.writer.write(submissions, left.map(({ move }) => move), left)
      } catch (error) {
        if (isUnseen(error)) return await this.#readErasures()
        const replaced = toReplaced(error)
        if (replaced === null) return error
        const keys = new Set(replaced.map(toKey))
        for (const { partition } of left.filter(({ partition }) => keys.has(toKey(partition.place)))) this.#replace(partition)
        left = left.filter(({ partition }) => !keys.has(toKey(partition.place)))
        continue
      }
      this.#settle(left, submissions, performance.now() - startedAtMs)
      return null
    }
    return null
  }

  /** Reads the registered erasures; the batch is then taken again. @returns the error if they cannot be read */
  async #readErasures (): Promise<unknown> {
    const { erasures, partitions } = this.#options
    try {
      await erasures.reload([...partitions()])
      return null
    } catch (error) {
      return error
    }
  }

  #replace (partition: SinkPartition): void {
    this.#replaced++
    this.#options.logger.warn({ ...partition.place }, 'another sink has taken this partition over; its records that were read are not ' +
      'stored here')
    this.#options.onReplaced(partition)
  }

  #settle (slices: readonly Slice[], submissions: readonly Submission[], durationMs: number): void {
    const { ledger, onBatch, onCommitted, onRoom } = this.#options
    let readings = 0
    for (const submission of submissions) {
      ledger.decided(toCounted(submission), 'stored')
      readings += submission.units
      onCommitted?.(submission)
    }
    this.#pending -= readings
    for (const { partition, move, records } of slices) {
      partition.release(records.length, move.to)
    }
    onBatch({ readings, durationMs })
    onRoom()
  }

  #succeed (): void {
    if (!this.#isUp) this.#options.logger.info(`${this.#options.target} takes batches again`)
    this.#isUp = true
    this.#failures = 0
    this.#readingsMax = Math.min(this.#options.readingsMax, this.#readingsMax * 2)
  }

  async #fail (error: unknown): Promise<void> {
    const { limits, logger, target, explain = () => null } = this.#options
    const isOfBatch = classifyError(error) === 'retry' && !isAway(error)
    if (isOfBatch) this.#readingsMax = Math.max(1, Math.floor(this.#readingsMax / 4))
    this.#why = explain(error)
    if (!isOfBatch || this.#why !== null) this.#isUp = false
    if (performance.now() - this.#toldAtMs > TOLD_EVERY_MS) {
      this.#toldAtMs = performance.now()
      logger.error({ err: error, readingsMax: this.#readingsMax },
        `${target} did not take a batch; trying again. Its records stay in Kafka`)
    }
    const delayMs = Math.min(limits.retryMsMax, limits.retryMsMin * 2 ** this.#failures++)
    await sleep(delayMs, undefined, { signal: this.#stopping.signal }).catch(() => {})
  }
}

/** One submission for the readings of each transport and client, and one for all dead letters. */
function toSubmissions (records: readonly Decoded[]): Submission[] {
  const readings = new Map<string, Pick<Submission, 'transport' | 'clientId'> & { readonly rows: ReadingRow[] }>()
  const letters: DeadLetterRow[] = []
  for (const record of records) {
    if (record.kind === 'letter') letters.push(record.row)
    if (record.kind !== 'reading') continue
    const { transport, clientId, row } = record
    const key = `${transport} ${clientId}`
    const ofClient = readings.get(key)
    if (ofClient === undefined) readings.set(key, { transport, clientId, rows: [row] })
    else ofClient.rows.push(row)
  }
  const submissions = [...readings.values()].map(({ transport, clientId, rows }) =>
    toReplayed({ transport, clientId, readings: rows, letters: [] }))
  return letters.length === 0 ? submissions : [...submissions, toReplayed({ transport: 'kafka', clientId: null, readings: [], letters })]
}

/** The same submission, counted under the transport by which it came in here. */
function toCounted (submission: Submission): Submission {
  const counted = toReplayed({ transport: 'kafka', clientId: null, readings: submission.readings, letters: submission.letters })
  counted.duplicates = submission.duplicates
  for (const rejection of submission.rejections) counted.reject(rejection)
  return counted
}
