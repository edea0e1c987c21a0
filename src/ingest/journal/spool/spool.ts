/**
 * The spool: takes batches that PostgreSQL does not take in time. Append-only segments on disk, one writer, one reader;
 * format.ts describes them.
 *
 *   append ──> queue ── write + fdatasync, shared ──> durable ── read ──> given out ── release ──> cursor ──> unlink
 *
 * Delivery is at least once: records that were read and not released come again after a restart. Records that the disk
 * destroys are counted and logged when the reader comes to them. Their segment is kept for the operator.
 * Beyond `VITAL_SPOOL_BYTES_MAX` an append fails, and `../../pipeline.ts` stops reading publishers that depend on the spool.
 */
import type { SpooledSubmission } from './codec.ts'
import { SEGMENT_BYTES, SEGMENT_HEADER_BYTES } from './format.ts'
import { type Position, SpoolReader, type SpoolRecord } from './reader.ts'
import { recover, type Recovered } from './recovery.ts'
import { removeFrom, type Segment, type SpoolContext } from './segment.ts'
import { SetAsideFiles } from './set-aside.ts'
import { type Damage, SpoolCounts } from './spool-counts.ts'
import { isSpaceError, SpoolError, toSpoolError } from './spool-error.ts'
import { probeDisk, removeSegment, writeCursor } from './upkeep.ts'
import type { SpoolOptions } from './spool-options.ts'
import { SpoolWriter } from './writer.ts'

/** `full` and `failed` last until an append or a probe succeeds, or, at the cap, until enough is released. */
export const SPOOL_STATUSES = ['ok', 'full', 'failed'] as const
export type SpoolStatus = typeof SPOOL_STATUSES[number]

/**
 * Opens a spool after any crash, and after any loss of content on the disk.
 * @throws `VITAL_SPOOL_IN_USE` while a process has the directory; `VITAL_SPOOL_FAILED` or `VITAL_SPOOL_FULL` when the
 *   directory cannot be made, read or fsynced
 */
export async function openSpool (options: SpoolOptions): Promise<Spool> {
  const { directory, disk } = options
  let unlock: (() => Promise<void>) | null = null
  try {
    await disk.makeDirectory(directory)
    unlock = await disk.lock(directory)
    return new Spool(options, await recover(options), unlock)
  } catch (error) {
    await unlock?.()
    throw toSpoolError(error, `opening the spool in ${directory}`)
  }
}

export class Spool {
  readonly bytesMax: number
  /** Whether replayed segments are kept. */
  readonly isKeeping: boolean
  readonly #context: SpoolContext
  readonly #segments: Segment[]
  readonly #reader: SpoolReader
  readonly #writer: SpoolWriter
  readonly #unlock: () => Promise<void>
  readonly #counts: SpoolCounts
  readonly #aside: SetAsideFiles
  #status: SpoolStatus = 'ok'
  #fault: SpoolError | null = null
  #provedAtMs = -Infinity
  #onStatus: () => void = () => {}
  /** Bytes that the cap had no room for. */
  #lackedBytes = 0
  #released: Position | null = null
  /** Number of records given out since the open that the cursor on disk marks as released. */
  #persisted = 0
  /** Reads, and changes to the directory, run one after the other. */
  #reading: Promise<unknown> = Promise.resolve()
  #tidying: Promise<unknown> = Promise.resolve()
  #isClosed = false

  constructor (options: SpoolOptions, recovered: Recovered, unlock: () => Promise<void>) {
    const { segments, nextNumber } = recovered
    this.#context = options
    this.bytesMax = options.bytesMax
    this.isKeeping = options.kept !== undefined
    this.#segments = segments
    this.#unlock = unlock
    this.#counts = new SpoolCounts(recovered)
    this.#aside = new SetAsideFiles(options, recovered.setAsideFiles)
    this.#reader = new SpoolReader({
      context: options,
      segments,
      onDamage: this.#countDamage.bind(this),
      onUncounted: (readings, appendedAtMs) => { this.#counts.add(1, readings, appendedAtMs) }
    })
    this.#writer = new SpoolWriter({
      context: options,
      segments,
      segmentBytes: options.segmentBytes ?? SEGMENT_BYTES,
      nextNumber,
      nowMs: options.nowMs ?? Date.now,
      hasRoom: (bytes) => this.bytes + bytes <= this.bytesMax,
      onDurable: (records, readings, appendedAtMs) => {
        this.#counts.add(records, readings, appendedAtMs)
        this.#prove()
      },
      onFailure: this.#countFailure.bind(this)
    })
  }

  /** Bytes on disk, without kept segments and damaged ones that were set aside. */
  get bytes (): number {
    return this.#segments.reduce((sum, segment) => sum + segment.bytes, 0)
  }

  /** Number of the oldest segment, including kept ones; `Infinity`: there is none. */
  get firstSegment (): number {
    return Math.min(this.#segments[0]?.number ?? Infinity, this.#context.kept?.firstNumber ?? Infinity)
  }

  /** Number of records that are durable and not released. */
  get records (): number {
    return this.#counts.records
  }

  /** The same in units of the ledger. Readings in a stretch whose headers are damaged were never counted. */
  get readings (): number {
    return this.#counts.readings
  }

  /** Whether everything durable was read and released. */
  get isEmpty (): boolean {
    const through = this.#released?.recordsThrough ?? 0
    return this.#segments.every((segment) => segment.end === 0 || this.#isDrained(segment, through))
  }

  get status (): SpoolStatus {
    return this.#status
  }

  /** The reason why `status` is not `ok`. */
  get fault (): SpoolError | null {
    return this.#fault
  }

  /** Monotonic milliseconds: when an append or a probe last succeeded. */
  get provedAtMs (): number {
    return this.#provedAtMs
  }

  /** Files of {@link keepAside} that are there, by the last look. */
  get setAsideFiles (): number {
    return this.#aside.count
  }

  /** @param listener - called after each change of `status` */
  onStatus (listener: () => void): void {
    this.#onStatus = listener
  }

  /** Unix milliseconds; no record in the spool was appended earlier. `null` when it is empty. */
  get oldestAtMs (): number | null {
    return this.#counts.oldestAtMs
  }

  get damage (): Readonly<Damage> {
    return this.#counts.damage
  }

  /**
   * Makes a payload durable. The caller bounds waiting payloads, and does not change the buffer until this settles.
   * @param readings - units of the ledger in it
   * @returns settles after fdatasync; records are read in the order of the calls
   * @throws `VITAL_SPOOL_FULL` at the cap or without space on disk; `VITAL_SPOOL_FAILED` when a write or an fsync
   *   failed. It may then still be read after a restart.
   */
  async append (payload: Buffer, readings: number): Promise<void> {
    this.#assertOpen()
    await this.#writer.append(payload, readings)
  }

  /** @returns the number of the next segment: earlier appends are in the segments before it, and later ones are not */
  async cut (): Promise<number> {
    this.#assertOpen()
    return await this.#writer.cut()
  }

  /**
   * @returns the next record that was not read since the open, or `null` when there is none now
   * @throws `VITAL_SPOOL_FAILED` when the disk cannot be read: try again after a pause. A place that always fails is damaged.
   */
  read (): Promise<SpoolRecord | null> {
    this.#assertOpen()
    const reading = this.#reading.then(async () => {
      const { stretches } = this.#counts.damage
      const record = await this.#reader.next()
      // A segment whose end is damaged has no last record whose release would remove it.
      if (this.#counts.damage.stretches > stretches) await this.#tidy(() => this.#sweep(this.#persisted))
      return record
    })
    this.#reading = reading.catch(() => {})
    return reading
  }

  /**
   * Releases the records up to and including this one: they are stored elsewhere. Calls that wait share one write.
   * @returns settles when the read position is durable and fully read segments were removed
   * @throws `VITAL_SPOOL_FULL` or `VITAL_SPOOL_FAILED` when the position cannot be made durable. That is harmless: the
   *   next release writes it, and until then a restart replays more
   */
  async release (position: Position): Promise<void> {
    this.#assertOpen()
    const { recordsThrough, readingsThrough } = this.#released ?? { recordsThrough: 0, readingsThrough: 0 }
    if (position.recordsThrough > recordsThrough) {
      this.#counts.release(position.recordsThrough - recordsThrough, position.readingsThrough - readingsThrough, position.appendedAtMs)
      this.#released = position
      if (this.isEmpty) this.#counts.settle()
    }
    await this.#tidy(() => this.#persist())
  }

  /** Counts a record that cannot be decoded as damage, and keeps its segment. The record is released like any other. */
  setAside (position: Position, cause: unknown): void {
    const segment = this.#segments.find(({ name }) => name === position.segment)
    this.#context.logger.error({ err: cause, ...position }, 'a record of the spool cannot be decoded: it is set aside')
    if (segment !== undefined) segment.isDamaged = true
    this.#counts.addDamage(position.bytes, null)
  }

  /**
   * Keeps one reading or dead letter in a file of its own.
   * @returns the file's name, once the file is durable
   * @throws `VITAL_SPOOL_FULL` or `VITAL_SPOOL_FAILED`
   */
  keepAside (unit: SpooledSubmission, why: string): Promise<string> {
    return this.#tidy(() => this.#aside.keep(unit, why))
  }

  /** Looks which files of {@link keepAside} are still there. */
  async countSetAside (): Promise<void> {
    if (!this.#isClosed) await this.#tidy(() => this.#aside.look())
  }

  /** Checks whether an append would succeed, by a write and an fsync of its own. */
  async probe (): Promise<boolean> {
    if (this.#isClosed) return false
    return await this.#tidy(async () => {
      try {
        // Segments that an earlier release could not remove may take up the space.
        await this.#persist()
        if (this.bytes + this.#lackedBytes > this.bytesMax) return false
        await probeDisk(this.#context)
        this.#prove()
        return true
      } catch (error) {
        this.#countFailure(toSpoolError(error, 'probing the disk of the spool'), 0)
        return false
      }
    })
  }

  /** Refuses new calls, lets those under way end, and releases the directory. The contents of the spool stay. */
  async close (): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    try {
      await this.#writer.close()
      await this.#reading
      await this.#tidying
      await this.#reader.close()
    } finally {
      await this.#unlock()
    }
  }

  #assertOpen (): void {
    if (this.#isClosed) throw new SpoolError('VITAL_SPOOL_CLOSED', 'the spool is closed')
  }

  #tidy<Result> (task: () => Promise<Result>): Promise<Result> {
    const result = this.#tidying.then(task)
    this.#tidying = result.catch(() => {})
    return result
  }

  /** An append or a probe succeeded. */
  #prove (): void {
    this.#provedAtMs = performance.now()
    this.#setOk()
  }

  #setOk (): void {
    this.#lackedBytes = 0
    this.#fault = null
    this.#setStatus('ok')
  }

  #setStatus (status: SpoolStatus): void {
    if (status === this.#status) return
    this.#status = status
    this.#onStatus()
  }

  #countFailure (error: SpoolError, bytes: number): void {
    this.#fault = error
    // Without a cause, the cap was reached. A payload larger than the cap must not leave an empty spool full.
    this.#lackedBytes = error.cause === undefined ? Math.min(bytes + SEGMENT_HEADER_BYTES, this.bytesMax) : 0
    this.#setStatus(error.code === 'VITAL_SPOOL_FULL' ? 'full' : 'failed')
  }

  #countDamage (segment: Segment, offset: number, bytes: number, readings: number | null): void {
    this.#context.logger.error({ segment: segment.name, offset, bytes, readings },
      'damaged bytes of the spool were skipped; their segment is kept with the suffix .damaged')
    segment.isDamaged = true
    this.#counts.addDamage(bytes, readings)
  }

  #isDrained (segment: Segment, released: number): boolean {
    return this.#reader.hasPassed(segment) && segment.readThrough <= released
  }

  /** Makes the read position durable, then removes the segments before it. */
  async #persist (): Promise<void> {
    const position = this.#released
    if (position !== null && position.recordsThrough > this.#persisted) {
      try {
        await writeCursor(this.#context, position).catch(async (error: unknown) => {
          if (!isSpaceError(error)) throw error
          // Only a removal makes room for the position. If it still cannot be written, a restart replays the rest.
          await this.#sweep(position.recordsThrough)
          await writeCursor(this.#context, position)
        })
      } catch (error) {
        throw toSpoolError(error, 'writing the read position of the spool')
      }
      this.#persisted = position.recordsThrough
    }
    await this.#sweep(this.#persisted)
  }

  /** Removes segments that are no longer needed. One that cannot be removed now is tried again by the next sweep. */
  async #sweep (released: number): Promise<void> {
    const { directory, disk, logger } = this.#context
    const last = this.#segments.at(-1)
    // If segments are kept, `cut` begins a new one every few seconds anyway.
    if (last?.isSealed === false && !this.isKeeping && this.#isDrained(last, released)) await this.#writer.retire()
    const done = this.#segments.filter((segment) => segment.isSealed && this.#isDrained(segment, released))
    for (const segment of done) {
      // The space of an open file is not freed.
      await this.#reader.leave(segment)
      if (await removeSegment(this.#context, segment)) removeFrom(this.#segments, segment)
    }
    if (this.isEmpty) this.#counts.settle()
    if (done.length === 0) return
    if (this.#lackedBytes > 0 && this.bytes + this.#lackedBytes <= this.bytesMax) this.#setOk()
    await disk.syncDirectory(directory).catch((error: unknown) => {
      logger.warn({ err: error }, 'spool segments are removed, but not durably: a power failure may bring them back')
    })
  }
}
