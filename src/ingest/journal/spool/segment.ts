import { join } from 'node:path'
import type { Logger } from 'pino'
import type { Disk, DiskFile } from './disk.ts'
import { MARKER_BYTES, PAYLOAD_BYTES_MAX, parseRecordHeader, RECORD_HEADER_BYTES, type RecordHeader } from './format.ts'

/** One file of the spool, shared by the writer, the reader and the code that removes it. */
export interface Segment {
  readonly number: number
  readonly name: string
  readonly path: string
  readonly marker: Buffer
  /** Offset at which reading begins: behind the records that were released before the open. */
  readonly start: number
  /** Offset at which reading ends: everything before it is on stable storage. Grows while the segment is written to. */
  end: number
  /** Bytes on disk; may be more than `end` after a failed write. */
  bytes: number
  /**
   * Number of records that the reader has given out, up to the last one of this segment. Once they are released, the
   * segment may be removed.
   */
  readThrough: number
  /** Whether it existed at the open. */
  readonly isFound: boolean
  /** Whether its records are in the counts since the open; `false` when the disk could not be read then. */
  readonly isCounted: boolean
  /** Whether it is complete: nothing more is written to it. */
  isSealed: boolean
  /** Whether a part could not be read; then it is set aside instead of unlinked. */
  isDamaged: boolean
}

/** The shared state of the spool's parts. */
export interface SpoolContext {
  readonly directory: string
  readonly disk: Disk
  readonly logger: Logger
  /** Keeps segments that were replayed; without it, they are removed. */
  readonly kept?: KeepsSegments | undefined
}

/** See `KeptSegments`. */
interface KeepsSegments {
  keep: (segment: Segment) => Promise<void>
  readonly firstNumber: number
  readonly lastNumber: number
}

export function toSegment (
  directory: string, of: Pick<Segment, 'number' | 'name' | 'marker' | 'start' | 'end' | 'isFound'>
): Segment {
  return {
    ...of,
    path: join(directory, of.name),
    bytes: of.end,
    readThrough: 0,
    isCounted: true,
    isSealed: of.isFound,
    isDamaged: false
  }
}

/** Removes a segment from the list, if it is there. */
export function removeFrom (segments: Segment[], segment: Segment): void {
  const index = segments.indexOf(segment)
  if (index >= 0) segments.splice(index, 1)
}

/** The unit in which a disk loses data. */
const PAGE_BYTES = 4096

/** Whether the medium or the file system's own structure is at fault, so that waiting may not help. */
export function isMediaError (error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return code === 'EIO' || code === 'EUCLEAN'
}

/** The data at an offset of a segment. */
export type Found =
  | { readonly kind: 'end' }
  | { readonly kind: 'record', readonly header: RecordHeader, readonly offset: number, readonly end: number }
  /** An intact record header, with less than its payload before the end of the segment. */
  | { readonly kind: 'short', readonly offset: number, readonly end: number }
  /** Damage up to `end`: the next intact record header, or the end of the segment. */
  | { readonly kind: 'damage', readonly offset: number, readonly end: number, readonly isZero: boolean }

/** Reads one segment in windows, in bounded memory for any size of segment or damage. */
export class SegmentReader {
  readonly #segment: Segment
  readonly #file: DiskFile
  readonly #windowBytes: number
  #window: Buffer = Buffer.alloc(0)
  #windowOffset = 0
  #isPatient = true

  private constructor (segment: Segment, file: DiskFile, windowBytes: number) {
    this.#segment = segment
    this.#file = file
    this.#windowBytes = windowBytes
  }

  static async open (disk: Disk, segment: Segment, windowBytes: number): Promise<SegmentReader> {
    return new SegmentReader(segment, await disk.openToRead(segment.path), windowBytes)
  }

  async close (): Promise<void> {
    // It was open for reading only, so a failure loses nothing.
    await this.#file.close().catch(() => {})
  }

  /** Finds what is at `offset`: a record, or damage and where it ends. */
  async find (offset: number): Promise<Found> {
    const { end } = this.#segment
    if (offset >= end) return { kind: 'end' }
    const found = await this.#findHeader(offset)
    if (found !== null) return found
    let isZero = true
    for (let at = offset; at < end;) {
      const bytes = await this.bytes(at, Math.min(this.#windowBytes, end - at))
      const marker = bytes.indexOf(this.#segment.marker, at === offset ? 1 : 0)
      isZero &&= bytes.subarray(0, marker < 0 ? bytes.length : marker).every((byte) => byte === 0)
      if (marker < 0) {
        if (at + bytes.length >= end) break
        at += bytes.length - (MARKER_BYTES - 1)
        continue
      }
      at += marker
      if (await this.#findHeader(at) !== null) return { kind: 'damage', offset, end: at, isZero }
      isZero = false
      at++
    }
    return { kind: 'damage', offset, end, isZero }
  }

  /**
   * Bytes of the segment; callers must not change them. Bytes beyond the end of the file are zeros, which every check
   * rejects.
   */
  async bytes (offset: number, length: number): Promise<Buffer> {
    const within = offset - this.#windowOffset
    if (within >= 0 && within + length <= this.#window.length) return this.#window.subarray(within, within + length)
    const window = Buffer.allocUnsafe(Math.min(Math.max(length, this.#windowBytes), this.#segment.end - offset))
    if (this.#isPatient) window.fill(0, await this.#file.read(window, offset))
    else await this.#readPages(window, offset)
    this.#window = window
    this.#windowOffset = offset
    return window.subarray(0, length)
  }

  /** From now on data that the disk fails to read is replaced by zeros, page by page, instead of rejecting. */
  giveUpOnFailures (): void {
    this.#isPatient = false
  }

  async #readPages (window: Buffer, offset: number): Promise<void> {
    window.fill(0)
    for (let at = 0; at < window.length;) {
      const pageEnd = Math.min(window.length, (Math.floor((offset + at) / PAGE_BYTES) + 1) * PAGE_BYTES - offset)
      try {
        await this.#file.read(window.subarray(at, pageEnd), offset + at)
      } catch (error) {
        if (!isMediaError(error)) throw error
        window.fill(0, at, pageEnd)
      }
      at = pageEnd
    }
  }

  async #findHeader (offset: number): Promise<Found | null> {
    const { end, marker } = this.#segment
    if (offset + RECORD_HEADER_BYTES > end) return null
    const header = parseRecordHeader(await this.bytes(offset, RECORD_HEADER_BYTES), marker)
    if (header === null || header.length > PAYLOAD_BYTES_MAX) return null
    const recordEnd = offset + RECORD_HEADER_BYTES + header.length
    return recordEnd > end ? { kind: 'short', offset, end } : { kind: 'record', header, offset, end: recordEnd }
  }
}
