import { crc32 } from 'node:zlib'
import { RECORD_HEADER_BYTES } from './format.ts'
import { isMediaError, type Segment, SegmentReader, type SpoolContext } from './segment.ts'
import { toSpoolError } from './spool-error.ts'

/** Bytes read ahead of a request; bounds the memory besides the records that the caller holds. */
const WINDOW_BYTES = 1024 * 1024

/**
 * Failed reads of one place before it is given up as damaged. The caller waits between attempts: a disk that cannot be
 * read for some time must not cost its records.
 */
const ATTEMPTS_MAX = 20

/** Position of a record; releasing it releases every record up to and including it. */
export interface Position {
  /** Whether the record was in the spool when the spool was opened. */
  readonly isFound: boolean
  /** Whether `Spool.readings` counted it before it was read; false if the disk could not be read at the open. */
  readonly isCounted: boolean
  readonly segment: string
  readonly sequence: number
  readonly offset: number
  readonly bytes: number
  /** Unix milliseconds of the append. */
  readonly appendedAtMs: number
  /** Units of the ledger in this record. */
  readonly readings: number
  /** Records and units given out since the open, this one included. */
  readonly recordsThrough: number
  readonly readingsThrough: number
}

export interface SpoolRecord {
  readonly payload: Buffer
  readonly position: Position
}

export interface ReaderOptions {
  readonly context: SpoolContext
  /** All segments, oldest first. */
  readonly segments: readonly Segment[]
  /** Called when a part cannot be read. `readings` is from an intact header; `null`: there is none. */
  readonly onDamage: (segment: Segment, offset: number, bytes: number, readings: number | null) => void
  /** Called when a record is given out that the open could not count. */
  readonly onUncounted: (readings: number, appendedAtMs: number) => void
}

/** Reads durable records in the order in which they were appended, each once. */
export class SpoolReader {
  readonly #options: ReaderOptions
  #segment: Segment | null = null
  #file: SegmentReader | null = null
  #offset = 0
  #records = 0
  #readings = 0
  #failures = 0

  constructor (options: ReaderOptions) {
    this.#options = options
  }

  /** @returns `null` when everything durable was read */
  async next (): Promise<SpoolRecord | null> {
    for (;;) {
      const segment = this.#segment
      if (segment === null || (segment.isSealed && this.#offset >= segment.end)) {
        if (!await this.#advance()) return null
        continue
      }
      if (this.#offset >= segment.end) return null
      try {
        const record = await this.#read(segment)
        this.#failures = 0
        if (record !== null) return record
      } catch (error) {
        await this.#fail(segment, error)
      }
    }
  }

  /** Whether everything that the segment holds now has been read. */
  hasPassed (segment: Segment): boolean {
    if (this.#segment === null) return false
    return segment === this.#segment ? this.#offset >= segment.end : segment.name < this.#segment.name
  }

  /** Closes the file of a segment that was read to its end. */
  async leave (segment: Segment): Promise<void> {
    if (segment === this.#segment) await this.close()
  }

  async close (): Promise<void> {
    const file = this.#file
    this.#file = null
    await file?.close()
  }

  /** @returns `null` when the place does not hold a readable record */
  async #read (segment: Segment): Promise<SpoolRecord | null> {
    const { context: { disk }, onDamage, onUncounted } = this.#options
    const file = this.#file ??= await SegmentReader.open(disk, segment, WINDOW_BYTES)
    const offset = this.#offset
    const found = await file.find(offset)
    if (found.kind === 'end') return null
    if (found.kind !== 'record') {
      this.#offset = found.end
      onDamage(segment, offset, found.end - offset, null)
      return null
    }
    const { length, crc, sequence, appendedAtMs, readings } = found.header
    const payload = await file.bytes(offset + RECORD_HEADER_BYTES, length)
    this.#offset = found.end
    if (crc32(payload) !== crc) {
      onDamage(segment, offset, found.end - offset, segment.isCounted ? readings : null)
      return null
    }
    if (!segment.isCounted) onUncounted(readings, appendedAtMs)
    this.#records++
    segment.readThrough = this.#records
    this.#readings += readings
    const position: Position = {
      sequence,
      isFound: segment.isFound,
      isCounted: segment.isCounted,
      segment: segment.name,
      offset,
      bytes: found.end - offset,
      appendedAtMs,
      readings,
      recordsThrough: this.#records,
      readingsThrough: this.#readings
    }
    return { payload, position }
  }

  /** @returns whether there is another segment */
  async #advance (): Promise<boolean> {
    const current = this.#segment
    const next = this.#options.segments.find(({ name }) => current === null || name > current.name)
    if (current !== null) await this.close()
    if (next === undefined) return false
    this.#segment = next
    this.#offset = next.start
    return true
  }

  async #fail (segment: Segment, error: unknown): Promise<void> {
    if (!(error instanceof Error) || !('code' in error)) throw error
    const isMissing = error.code === 'ENOENT'
    const isHopeless = isMediaError(error) && ++this.#failures >= ATTEMPTS_MAX
    if (!isMissing && !isHopeless) throw toSpoolError(error, `reading ${segment.name} of the spool`)
    this.#failures = 0
    if (this.#file !== null && isHopeless) return this.#file.giveUpOnFailures()
    this.#options.onDamage(segment, this.#offset, segment.end - this.#offset, null)
    this.#offset = segment.end
  }
}
