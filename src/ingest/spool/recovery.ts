import { join } from 'node:path'
import type { Disk } from './disk.ts'
import {
  CURSOR_NAME, isForeignSegment, parseCursor, parseSegmentName, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, toDamagedName
} from './format.ts'
import { isMediaError, type Segment, SegmentReader, type SpoolContext, toSegment } from './segment.ts'

/** Headers are looked at, payloads stepped over: a window that holds a few small records and wastes little on large ones. */
const WINDOW_BYTES = 16 * 1024

/** What lay in the directory when the spool was opened. */
export interface Recovered {
  /** With something unread in them, oldest first. */
  readonly segments: Segment[]
  readonly nextNumber: number
  readonly nextSequence: number
  /** The sequence up to which all is released. */
  readonly released: number
  readonly records: number
  /** Units of the ledger. */
  readonly readings: number
  /** Unix milliseconds. */
  readonly oldestAtMs: number | null
}

interface Tally {
  sequence: number
  records: number
  readings: number
  oldestAtMs: number | null
  /** Bytes that may hold records whose sequence nobody knows. */
  unreadableBytes: number
}

/**
 * Takes stock of a directory: cuts torn tails, removes what was read, counts the rest by the headers. Payloads are not
 * read, so damage in them shows only when the reader comes to it.
 */
export async function recover (context: SpoolContext): Promise<Recovered> {
  const { directory, disk, logger } = context
  const names = (await disk.list(directory)).sort()
  for (const name of names) if (name.endsWith('.tmp')) await disk.unlink(join(directory, name))
  const released = await readCursor(context, names)
  const tally: Tally = { sequence: released, records: 0, readings: 0, oldestAtMs: null, unreadableBytes: 0 }
  const segments: Segment[] = []
  let lastNumber = 0
  for (const name of names) {
    const parsed = parseSegmentName(name)
    if (parsed === null) continue
    lastNumber = Math.max(lastNumber, parsed.number)
    if (parsed.isDamaged) continue
    const end = await disk.size(join(directory, name))
    const segment = toSegment(directory, { ...parsed, name, start: SEGMENT_HEADER_BYTES, end, isSealed: true })
    try {
      const start = await walk(context, segment, tally)
      if (start === null) await disk.rename(segment.path, join(directory, toDamagedName(name)))
      else if (start >= segment.end) await disk.unlink(segment.path)
      else segments.push({ ...segment, start })
    } catch (error) {
      if (!isMediaError(error)) throw error
      logger.error({ err: error, segment: name }, 'a segment of the spool could not be counted; it will be tried again when it is read')
      tally.unreadableBytes += end
      segments.push(segment)
    }
  }
  // Also makes durable what an earlier process removed, and could not sync.
  await disk.syncDirectory(directory)
  const { sequence, records, readings, oldestAtMs, unreadableBytes } = tally
  return { segments, nextNumber: lastNumber + 1, nextSequence: sequence + unreadableBytes + 1, released, records, readings, oldestAtMs }
}

/** @returns where the unread part begins, or `null` when another version wrote it */
async function walk (context: SpoolContext, segment: Segment, tally: Tally): Promise<number | null> {
  const reader = await SegmentReader.open(context.disk, segment, WINDOW_BYTES)
  let start = segment.start
  let offset = start
  const released = tally.sequence
  try {
    if (segment.end >= SEGMENT_HEADER_BYTES && isForeignSegment(await reader.bytes(0, SEGMENT_HEADER_BYTES))) {
      context.logger.error({ segment: segment.name }, 'a segment of the spool has another format: it is set aside unread')
      return null
    }
    for (;;) {
      const found = await reader.find(offset)
      if (found.kind === 'end') return start
      if (found.kind === 'record') {
        const { sequence, readings, appendedAtMs } = found.header
        offset = found.end
        if (sequence <= released) start = offset
        if (sequence <= tally.sequence) continue
        tally.sequence = sequence
        tally.records++
        tally.readings += readings
        tally.oldestAtMs ??= appendedAtMs
        continue
      }
      const isTorn = found.kind === 'short' || (found.end === segment.end && (found.isZero || found.end - offset < RECORD_HEADER_BYTES))
      if (isTorn) {
        await cut(context, segment, offset)
        return start
      }
      tally.unreadableBytes += found.end - offset
      offset = found.end
    }
  } finally {
    await reader.close()
  }
}

async function cut ({ disk, logger }: SpoolContext, segment: Segment, offset: number): Promise<void> {
  logger.info({ segment: segment.name, offset, bytes: segment.end - offset }, 'cut off what a crash left unfinished in the spool')
  segment.end = offset
  // Without it the tail is stepped over all the same, and takes up space until the segment goes.
  await disk.truncate(segment.path, offset).then(() => { segment.bytes = offset }, (error: unknown) => {
    logger.warn({ err: error, segment: segment.name }, 'could not shorten a segment of the spool')
  })
}

async function readCursor ({ directory, disk, logger }: SpoolContext, names: readonly string[]): Promise<number> {
  if (!names.includes(CURSOR_NAME)) return 0
  const path = join(directory, CURSOR_NAME)
  let cause: unknown
  try {
    const sequence = parseCursor(await readWhole(disk, path))
    if (sequence !== null) return sequence
  } catch (error) {
    if (!isMediaError(error)) throw error
    cause = error
  }
  logger.warn({ err: cause, path }, 'the read position of the spool is damaged: replaying from the oldest segment')
  return 0
}

async function readWhole (disk: Disk, path: string): Promise<Buffer> {
  const file = await disk.openToRead(path)
  try {
    const bytes = Buffer.alloc(await disk.size(path))
    return bytes.subarray(0, await file.read(bytes, 0))
  } finally {
    await file.close()
  }
}
