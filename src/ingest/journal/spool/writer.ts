import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import type { DiskFile } from './disk.ts'
import {
  encodeRecordHeader, encodeSegmentHeader, MARKER_BYTES, PAYLOAD_BYTES_MAX, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, toSegmentName
} from './format.ts'
import { removeFrom, type Segment, type SpoolContext, toSegment } from './segment.ts'
import { SpoolError, toSpoolError } from './spool-error.ts'

/** Bytes of one write. Appends that wait beyond it share the next fdatasync. */
const GROUP_BYTES_MAX = 16 * 1024 * 1024

/** An append that waits for its fdatasync. */
interface Append {
  readonly payload: Buffer
  readonly readings: number
  readonly resolve: () => void
  readonly reject: (error: SpoolError) => void
}

/** A call of {@link SpoolWriter.cut} in the queue, behind the appends before it. */
interface Cut {
  readonly cut: (next: number) => void
}

/** Appends of one write. */
interface Group {
  readonly appends: readonly Append[]
  /** Size, including record headers. */
  readonly bytes: number
  readonly appendedAtMs: number
}

export interface WriterOptions {
  readonly context: SpoolContext
  /** All segments, oldest first; the writer adds to the end. */
  readonly segments: Segment[]
  readonly segmentBytes: number
  readonly nextNumber: number
  readonly nowMs: () => number
  /** Whether the cap has room for the bytes. */
  readonly hasRoom: (bytes: number) => boolean
  /** Called when the reader may see the records, before the appends resolve. */
  readonly onDurable: (records: number, readings: number, appendedAtMs: number) => void
  readonly onFailure: (error: SpoolError, bytes: number) => void
}

/**
 * Writes records, one group at a time: appends that arrive while an fdatasync runs are written together and share the
 * next one.
 *
 * After a failed write or fsync the kernel may have dropped the data and marked it clean, so a second fsync would
 * succeed and prove nothing. The group is rejected, the descriptor is closed, and the segment ends where it was last
 * known to be durable.
 */
export class SpoolWriter {
  readonly #options: WriterOptions
  #queue: Array<Append | Cut> = []
  #active: { segment: Segment, file: DiskFile } | null = null
  #nextNumber: number
  #nextSequence = 1
  #pumping: Promise<void> | null = null

  constructor (options: WriterOptions) {
    this.#options = options
    this.#nextNumber = options.nextNumber
  }

  append (payload: Buffer, readings: number): Promise<void> {
    if (payload.length > PAYLOAD_BYTES_MAX) {
      throw new RangeError(`a record of ${payload.length} bytes is larger than ${PAYLOAD_BYTES_MAX}`)
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({ payload, readings, resolve, reject })
      this.#pumping ??= this.#pump()
    })
  }

  /** Ends the current segment, unless a write is under way. The next append begins another segment. */
  async retire (): Promise<void> {
    if (this.#pumping === null) await this.#leave()
  }

  /**
   * @returns the number of the segment that the next append begins; all appends so far are settled and lie before it
   */
  cut (): Promise<number> {
    return new Promise((resolve) => {
      // In the queue: under load it never becomes empty, and a cut that waited for that would not return.
      this.#queue.push({ cut: resolve })
      this.#pumping ??= this.#pump()
    })
  }

  /** Settles when all appends so far are settled. */
  async close (): Promise<void> {
    while (this.#pumping !== null) await this.#pumping
    await this.#leave()
  }

  async #pump (): Promise<void> {
    // Appends of the same turn of the event loop share the first write.
    await Promise.resolve()
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      if ('cut' in first) {
        this.#queue.shift()
        const next = this.#nextNumber
        await this.#leave()
        first.cut(next)
      } else {
        const group = this.#takeGroup()
        if (group !== null) await this.#commit(group)
      }
    }
    this.#pumping = null
  }

  /** @returns `null` when the cap has no room for any waiting append */
  #takeGroup (): Group | null {
    const { hasRoom, segmentBytes, nowMs } = this.#options
    const appends: Append[] = []
    let bytes = 0
    let bytesMax = 0
    let taken = 0
    for (const append of this.#queue) {
      if ('cut' in append) break
      const recordBytes = RECORD_HEADER_BYTES + append.payload.length
      if (bytes > 0 && bytes + recordBytes > bytesMax) break
      taken++
      if (!hasRoom(SEGMENT_HEADER_BYTES + bytes + recordBytes)) {
        this.#reject([append], new SpoolError('VITAL_SPOOL_FULL', 'the spool has reached its size limit'), recordBytes)
        continue
      }
      if (bytes === 0) {
        const leftBytes = segmentBytes - (this.#active?.segment.end ?? Infinity)
        bytesMax = Math.min(GROUP_BYTES_MAX, leftBytes >= recordBytes ? leftBytes : segmentBytes - SEGMENT_HEADER_BYTES)
      }
      appends.push(append)
      bytes += recordBytes
    }
    this.#queue.splice(0, taken)
    return appends.length === 0 ? null : { appends, bytes, appendedAtMs: nowMs() }
  }

  async #commit (group: Group): Promise<void> {
    const { segmentBytes } = this.#options
    const firstSequence = this.#nextSequence
    this.#nextSequence += group.appends.length
    for (;;) {
      let active = this.#active
      try {
        if (active !== null && active.segment.end + group.bytes > segmentBytes) await this.#leave()
        active = this.#active ??= await this.#begin()
        await this.#write(active, group, firstSequence)
      } catch (error) {
        const isSegmentTooLong = (error as NodeJS.ErrnoException).code === 'EFBIG' && active !== null &&
          active.segment.end > 0
        const isCut = await this.#abandon(group.bytes)
        // The limit is on one file (RLIMIT_FSIZE), so a new one has room. The cut is durable, so no record is read
        // twice.
        if (isSegmentTooLong && isCut) continue
        this.#reject(group.appends, toSpoolError(error, 'writing to the spool'), group.bytes)
        return
      }
      for (const { resolve } of group.appends) resolve()
      return
    }
  }

  async #write (
    { segment, file }: { segment: Segment, file: DiskFile }, group: Group, firstSequence: number
  ): Promise<void> {
    const { marker } = segment
    const buffers = group.appends.flatMap(({ payload, readings }, index) => [encodeRecordHeader(marker, {
      length: payload.length,
      crc: crc32(payload),
      sequence: firstSequence + index,
      appendedAtMs: group.appendedAtMs,
      readings
    }), payload])
    if (segment.end === 0) buffers.unshift(encodeSegmentHeader(marker))
    const end = segment.end + (segment.end === 0 ? SEGMENT_HEADER_BYTES : 0) + group.bytes
    await file.write(buffers, segment.end)
    await file.sync()
    // Counted in the same turn in which the reader may see it.
    segment.end = end
    segment.bytes = end
    this.#options.onDurable(group.appends.length, group.appends.reduce((sum, { readings }) => sum +
      readings, 0), group.appendedAtMs)
  }

  async #begin (): Promise<{ segment: Segment, file: DiskFile }> {
    const { context: { directory, disk }, segments } = this.#options
    const marker = randomBytes(MARKER_BYTES)
    const number = this.#nextNumber++
    const name = toSegmentName(number, marker)
    const segment = toSegment(directory, { number, name, marker, start: SEGMENT_HEADER_BYTES, end: 0, isFound: false })
    const file = await disk.create(join(directory, name))
    const active = { segment, file }
    segments.push(segment)
    this.#active = active
    await disk.syncDirectory(directory)
    return active
  }

  async #leave (): Promise<void> {
    const active = this.#active
    if (active === null) return
    this.#active = null
    active.segment.isSealed = true
    // Everything in it is durable, so a failure to close loses nothing.
    await active.file.close().catch((error: unknown) => {
      this.#options.context.logger.debug({ err: error, segment: active.segment.name },
        'a segment of the spool could not be closed')
    })
  }

  /** @returns whether the bytes written after the last fdatasync are gone from the file */
  async #abandon (groupBytes: number): Promise<boolean> {
    const { context: { disk, logger }, segments } = this.#options
    const active = this.#active
    if (active === null) return true
    const { segment, file } = active
    this.#active = null
    segment.bytes = segment.end + groupBytes
    try {
      await file.close()
    } catch (error) {
      logger.debug({ err: error, segment: segment.name }, 'a failed segment of the spool could not be closed')
    }
    try {
      if (segment.end > 0) {
        await disk.truncate(segment.path, segment.end)
        segment.bytes = segment.end
      } else {
        await disk.unlink(segment.path)
        removeFrom(segments, segment)
      }
      return true
    } catch (error) {
      logger.warn({ err: error, segment: segment.name },
        'could not undo a failed write to the spool; it is skipped')
      return false
    } finally {
      // Only now may the reader pass the segment and a sweep remove it.
      segment.isSealed = true
    }
  }

  #reject (appends: readonly Append[], error: SpoolError, bytes: number): void {
    this.#options.onFailure(error, bytes)
    for (const { reject } of appends) reject(error)
  }
}
