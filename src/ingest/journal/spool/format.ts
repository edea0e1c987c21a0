/**
 * The format on disk. Numbers are little-endian.
 *
 *   <directory>/
 *     0000000007-9f86d081884c7d659a2feaa0.spool          a segment: its number, its marker
 *     0000000003-2c26b46b68ff33a7c68fd5a0.spool.damaged  a damaged segment, set aside once the rest of it was read
 *     kept/                                      segments that were replayed; see kept-segments.ts
 *     cursor                                     how far the spool has been read and released
 *     lock.*                                     see directory-lock.ts
 *
 * Segment: a header of 28 bytes, then records, back to back, in the order in which they were appended.
 *
 *   segment header    0  8  "VITALSPL"
 *                     8  4  format version
 *                    12 12  marker
 *                    24  4  CRC32 of bytes 0 to 23
 *
 *   record header     0 12  marker
 *                    12  4  length of the payload
 *                    16  4  CRC32 of the payload
 *                    20  6  sequence: from 1 at each open of the spool
 *                    26  6  Unix milliseconds of the append
 *                    32  4  readings: how many units of the ledger the payload holds
 *                    36  4  CRC32 of bytes 0 to 35
 *                    40     payload
 *
 * The marker is drawn at random for each segment. It is part of the file's name, so it outlives a damaged segment
 * header. After damage the reader looks for the next marker. A payload can contain the marker only by a correct guess.
 * With a fixed magic number, a device could send bytes that look like a record, and wait for a flipped bit before them.
 *
 * A sequence orders the records of one segment only. A number for the whole spool, continued from the last one found,
 * is not safe: a power failure that brings back a torn tail, or a cursor that cannot be read once, gives two records
 * the same number, and the acknowledged one is skipped.
 *
 * The header has its own CRC. If the header is intact the length can be trusted, so damage in one payload costs one
 * record and no search. The size of a record is known without reading it, so an open need not read gigabytes.
 *
 * A record counts once the fdatasync of its segment (and, for a new segment, the fsync of the directory) has returned.
 * Old segments are never appended to: each open, and each failed write or fsync, begins a new one.
 *
 * Possible data where an open expects a record:
 *   - less than a header, or an intact header and less than its payload, or only zeros, up to the end of the file: a write
 *     that a crash tore. Never acknowledged. It is cut off.
 *   - anything else that is not an intact record: damage. It is skipped, counted and logged, and its segment is kept.
 *
 * Cursor: 0 8 "VITALCUR", 8 6 number and 14 12 marker of the segment of the last released record, 26 6 its sequence, 32
 * 4 CRC32 of bytes 0 to 31. All segments before that one are released, and all records in it up to that sequence. It is
 * replaced by rename. If it cannot be read, records are replayed a second time, which is harmless: replay is
 * idempotent.
 */
import { crc32 } from 'node:zlib'

const SEGMENT_MAGIC = Buffer.from('VITALSPL')
const CURSOR_MAGIC = Buffer.from('VITALCUR')
const FORMAT_VERSION = 1

/** A new segment begins at this size, unless a smaller one is asked for. */
export const SEGMENT_BYTES = 64 * 1024 * 1024

export const MARKER_BYTES = 12
export const SEGMENT_HEADER_BYTES = 28
export const RECORD_HEADER_BYTES = 40
const CURSOR_BYTES = 36

/** The largest payload, which is the allocation of one read. A batch is some hundred KiB. */
export const PAYLOAD_BYTES_MAX = 256 * 1024 * 1024

export const CURSOR_NAME = 'cursor'
const SEGMENT_NAME = /^(\d{10})-([0-9a-f]{24})\.spool$/
const DAMAGED_SUFFIX = '.damaged'

/** The header of a record. */
export interface RecordHeader {
  readonly length: number
  readonly crc: number
  readonly sequence: number
  /** Unix milliseconds. */
  readonly appendedAtMs: number
  /** Units of the ledger. */
  readonly readings: number
}

/** The last record that was released. */
export interface Cursor {
  /** Name of its segment; names sort in the order in which segments were begun. */
  readonly segment: string
  readonly sequence: number
}

export function toSegmentName (number: number, marker: Buffer): string {
  return `${String(number).padStart(10, '0')}-${marker.toString('hex')}.spool`
}

/** @returns `null` if it is not the name of a segment */
export function parseSegmentName (name: string): { number: number, marker: Buffer, isDamaged: boolean } | null {
  const isDamaged = name.endsWith(DAMAGED_SUFFIX)
  const match = SEGMENT_NAME.exec(isDamaged ? name.slice(0, -DAMAGED_SUFFIX.length) : name)
  return match === null ? null : { number: Number(match[1]), marker: Buffer.from(match[2]!, 'hex'), isDamaged }
}

export function toDamagedName (name: string): string {
  return name + DAMAGED_SUFFIX
}

export function encodeSegmentHeader (marker: Buffer): Buffer {
  const header = Buffer.alloc(SEGMENT_HEADER_BYTES)
  SEGMENT_MAGIC.copy(header)
  header.writeUInt32LE(FORMAT_VERSION, 8)
  marker.copy(header, 12)
  header.writeUInt32LE(crc32(header.subarray(0, 24)), 24)
  return header
}

/**
 * Whether the segment has another version of this format, which this one cannot read. A damaged header does not count:
 * the records behind it are found by their marker.
 */
export function isForeignSegment (header: Buffer): boolean {
  return header.subarray(0, 8).equals(SEGMENT_MAGIC) && header.readUInt32LE(24) === crc32(header.subarray(0, 24)) &&
    header.readUInt32LE(8) !== FORMAT_VERSION
}

export function encodeRecordHeader (marker: Buffer, record: RecordHeader): Buffer {
  const header = Buffer.allocUnsafe(RECORD_HEADER_BYTES)
  marker.copy(header)
  header.writeUInt32LE(record.length, 12)
  header.writeUInt32LE(record.crc, 16)
  header.writeUIntLE(record.sequence, 20, 6)
  header.writeUIntLE(record.appendedAtMs, 26, 6)
  header.writeUInt32LE(record.readings, 32)
  header.writeUInt32LE(crc32(header.subarray(0, 36)), 36)
  return header
}

/** @returns `null` when these bytes are not an intact header of this segment */
export function parseRecordHeader (bytes: Buffer, marker: Buffer): RecordHeader | null {
  if (bytes.length < RECORD_HEADER_BYTES || marker.compare(bytes, 0, MARKER_BYTES) !== 0) return null
  if (bytes.readUInt32LE(36) !== crc32(bytes.subarray(0, 36))) return null
  return {
    length: bytes.readUInt32LE(12),
    crc: bytes.readUInt32LE(16),
    sequence: bytes.readUIntLE(20, 6),
    appendedAtMs: bytes.readUIntLE(26, 6),
    readings: bytes.readUInt32LE(32)
  }
}

export function encodeCursor ({ segment, sequence }: Cursor): Buffer {
  const { number, marker } = parseSegmentName(segment)!
  const bytes = Buffer.alloc(CURSOR_BYTES)
  CURSOR_MAGIC.copy(bytes)
  bytes.writeUIntLE(number, 8, 6)
  marker.copy(bytes, 14)
  bytes.writeUIntLE(sequence, 26, 6)
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 32)), 32)
  return bytes
}

/** @returns `null` when it is damaged */
export function parseCursor (bytes: Buffer): Cursor | null {
  if (bytes.length !== CURSOR_BYTES || !bytes.subarray(0, 8).equals(CURSOR_MAGIC)) return null
  if (bytes.readUInt32LE(32) !== crc32(bytes.subarray(0, 32))) return null
  return {
    segment: toSegmentName(bytes.readUIntLE(8, 6), bytes.subarray(14, 14 +
    MARKER_BYTES)),
    sequence: bytes.readUIntLE(26, 6)
  }
}
