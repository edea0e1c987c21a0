import { join } from 'node:path'
import type { Disk } from './disk.ts'
import {
  type Cursor, CURSOR_NAME, isForeignSegment, parseCursor, parseSegmentName, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES
} from './format.ts'
import { isMediaError, type Segment, SegmentReader, type SpoolContext, toSegment } from './segment.ts'
import { isSetAside } from './set-aside.ts'
import { removeSegment } from './upkeep.ts'

/** Headers are read and payloads skipped: the window holds a few small records and wastes little on large ones. */
const WINDOW_BYTES = 16 * 1024

/** The contents of the directory when the spool was opened. */
export interface Recovered {
  /** Segments that stay, oldest first: with unread records, or not removable now. */
  readonly segments: Segment[]
  readonly nextNumber: number
  readonly records: number
  /** Units of the ledger. */
  readonly readings: number
  /** Unix milliseconds. */
  readonly oldestAtMs: number | null
  /** Number of files of set-aside.ts. */
  readonly setAsideFiles: number
}

interface Tally {
  records: number
  readings: number
  oldestAtMs: number | null
}

/**
 * Scans a directory: cuts torn tails, removes segments that were read, counts the rest by the headers. Payloads are not
 * read, so damage in them is found only when the reader reaches it.
 */
export async function recover (context: SpoolContext): Promise<Recovered> {
  const { directory, disk, logger } = context
  const names = (await disk.list(directory)).sort()
  const tolerate = (error: unknown) => {
    logger.warn({ err: error, directory },
      'left-over files of the spool could not be removed; trying again later')
  }
  for (const name of names) if (name.endsWith('.tmp')) await disk.unlink(join(directory, name)).catch(tolerate)
  const cursor = await readCursor(context, names)
  const tally: Tally = { records: 0, readings: 0, oldestAtMs: null }
  const segments: Segment[] = []
  let lastNumber = Math.max(context.kept?.lastNumber ?? 0, cursor === null ? 0 : parseSegmentName(cursor.segment)!.number)
  for (const name of names) {
    const parsed = parseSegmentName(name)
    if (parsed === null) continue
    lastNumber = Math.max(lastNumber, parsed.number)
    if (parsed.isDamaged) continue
    const end = await disk.size(join(directory, name))
    const segment = toSegment(directory, { ...parsed, name, start: SEGMENT_HEADER_BYTES, end, isFound: true })
    const { records, readings } = tally
    try {
      const start = cursor !== null && name < cursor.segment
        ? end
        : await walk(context, segment, name === cursor?.segment ? cursor.sequence : 0, tally)
      if (start !== null && start < segment.end) {
        segments.push({ ...segment, start })
        continue
      }
      segment.isDamaged = start === null
      // It has no unread records. If it cannot be removed now, it is removed later with the others.
      if (!await removeSegment(context, segment)) segments.push({ ...segment, start: segment.end })
    } catch (error) {
      if (!isMediaError(error)) throw error
      logger.error({ err: error, segment: name },
        'the records of a spool segment could not be counted; they are counted when it is read')
      Object.assign(tally, { records, readings })
      segments.push({ ...segment, isCounted: false })
    }
  }
  // This also makes removals durable that an earlier process could not sync.
  await disk.syncDirectory(directory)
  const { records, readings, oldestAtMs } = tally
  return {
    segments,
    nextNumber: lastNumber +
    1,
    records,
    readings,
    oldestAtMs,
    setAsideFiles: names.filter(isSetAside).length
  }
}

/** @returns the offset of the first unread record; `null`: another version wrote the segment */
async function walk (
  context: SpoolContext, segment: Segment, releasedSequence: number, tally: Tally
): Promise<number | null> {
  const reader = await SegmentReader.open(context.disk, segment, WINDOW_BYTES)
  let start = segment.start
  let offset = start
  try {
    if (segment.end >= SEGMENT_HEADER_BYTES && isForeignSegment(await reader.bytes(0, SEGMENT_HEADER_BYTES))) {
      context.logger.error({ segment: segment.name },
        'a segment of the spool has another format: it is set aside unread')
      return null
    }
    for (;;) {
      const found = await reader.find(offset)
      if (found.kind === 'end') return start
      if (found.kind === 'record') {
        const { sequence, readings, appendedAtMs } = found.header
        offset = found.end
        if (sequence <= releasedSequence) {
          start = offset
          continue
        }
        tally.records++
        tally.readings += readings
        tally.oldestAtMs ??= appendedAtMs
        continue
      }
      const isTorn = found.kind === 'short' ||
        (found.end === segment.end && (found.isZero || found.end - offset < RECORD_HEADER_BYTES))
      if (isTorn) {
        await cut(context, segment, offset)
        return start
      }
      offset = found.end
    }
  } finally {
    await reader.close()
  }
}

async function cut ({ disk, logger }: SpoolContext, segment: Segment, offset: number): Promise<void> {
  logger.info({ segment: segment.name, offset, bytes: segment.end - offset },
    'cut off an unfinished record that a crash left in the spool')
  segment.end = offset
  // If this fails, the tail is still skipped, and takes up space until the segment is removed.
  await disk.truncate(segment.path, offset).then(() => { segment.bytes = offset }, (error: unknown) => {
    logger.warn({ err: error, segment: segment.name }, 'could not shorten a segment of the spool')
  })
}

async function readCursor (
  { directory, disk, logger }: SpoolContext, names: readonly string[]
): Promise<Cursor | null> {
  if (!names.includes(CURSOR_NAME)) return null
  const path = join(directory, CURSOR_NAME)
  let cause: unknown
  try {
    const cursor = parseCursor(await readWhole(disk, path))
    if (cursor !== null) return cursor
  } catch (error) {
    if (!isMediaError(error)) throw error
    cause = error
  }
  logger.warn({ err: cause, path }, 'the read position of the spool is damaged: replaying from the oldest segment')
  // If it became readable again later, it could count new segments as released, because their numbers may start over.
  await disk.unlink(path)
  await disk.syncDirectory(directory)
  return null
}

async function readWhole (disk: Disk, path: string): Promise<Buffer> {
  const file = await disk.openToRead(path)
  try {
    const bytes = Buffer.alloc(await disk.size(path))
    return bytes.subarray(0, await file.read(bytes, 0))
  } finally {
    await file.close().catch(() => {})
  }
}
