/**
 * The binary formats that PostgreSQL reads: rows for COPY … (FORMAT binary), arrays for `unnest($1::text[])`, and the
 * messages that carry them. All are appended to one buffer that leaves with one write. The text formats cost more on
 * both sides: every value is escaped here and parsed again there. Sources: PostgreSQL manual, "COPY" (Binary Format)
 * and "Message Formats"; array_recv/array_send in its source.
 */

/** Type OIDs from pg_type.dat; fixed for ever. */
export const OID = { bytea: 17, int8: 20, int4: 23, text: 25, float8: 701, timestamptz: 1184, uuid: 2950, jsonb: 3802 } as const

/** PostgreSQL counts microseconds from 2000-01-01, Unix from 1970-01-01. */
const UNIX_TO_POSTGRES_EPOCH_US = 946_684_800_000_000

const COPY_SIGNATURE = Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1')
/** The only version of jsonb's binary format so far: a byte, then the text. */
const JSONB_VERSION = 1
const TWO_TO_32 = 2 ** 32
const LENGTH_BYTES = 4

/** A UUID's text as {@link BinaryWriter.uuid} takes it. */
export function toUuidBytes (uuid: string): string {
  return Buffer.from(uuid.replaceAll('-', ''), 'hex').toString('latin1')
}

/** Appends values and messages; grows by doubling, so a batch costs few allocations. */
export class BinaryWriter {
  #buffer: Buffer
  #end = 0

  /** @param sizeBytes - first guess of the size */
  constructor (sizeBytes: number) {
    this.#buffer = Buffer.allocUnsafe(Math.max(sizeBytes, 64))
  }

  /** @param type - one character */
  startMessage (type: string): number {
    this.#reserve(1)
    this.#buffer[this.#end++] = type.charCodeAt(0)
    return this.startValue()
  }

  /** @param start - what {@link startMessage} returned */
  endMessage (start: number): void {
    this.#buffer.writeInt32BE(this.#end - start, start)
  }

  /** A message without a body. */
  emptyMessage (type: string): void {
    this.endMessage(this.startMessage(type))
  }

  /** Opens a value whose length is not known yet. */
  startValue (): number {
    this.#reserve(LENGTH_BYTES)
    const start = this.#end
    this.#end += LENGTH_BYTES
    return start
  }

  /** @param start - what {@link startValue} returned */
  endValue (start: number): void {
    this.#buffer.writeInt32BE(this.#end - start - LENGTH_BYTES, start)
  }

  int16 (value: number): void {
    this.#reserve(2)
    this.#end = this.#buffer.writeInt16BE(value, this.#end)
  }

  int32 (value: number): void {
    this.#reserve(4)
    this.#int32(value)
  }

  /** A string as messages hold it, ended by a zero byte. */
  cString (value: string): void {
    this.#reserve(value.length * 3 + 1)
    this.#end += this.#buffer.write(value, this.#end, 'utf8')
    this.#buffer[this.#end++] = 0
  }

  /** Header of a COPY stream: signature, no flags, no extension. */
  copyHeader (): void {
    this.#reserve(19)
    this.#end += COPY_SIGNATURE.copy(this.#buffer, this.#end)
    this.#int32(0)
    this.#int32(0)
  }

  copyTrailer (): void {
    this.int16(-1)
  }

  /** Opens a COPY row of `fields` values. */
  row (fields: number): void {
    this.int16(fields)
  }

  /** Opens a one-dimensional array of `length` elements. */
  array (oid: number, length: number): void {
    this.#reserve(20)
    this.#int32(length === 0 ? 0 : 1)
    this.#int32(1) // may hold nulls
    this.#int32(oid)
    if (length === 0) return
    this.#int32(length)
    this.#int32(1) // arrays count from 1
  }

  null (): void {
    this.int32(-1)
  }

  text (value: string): void {
    // Three bytes hold any UTF-16 code unit in UTF-8.
    this.#reserve(4 + value.length * 3)
    const written = this.#buffer.write(value, this.#end + 4, 'utf8')
    this.#int32(written)
    this.#end += written
  }

  jsonb (json: string): void {
    this.#reserve(5 + json.length * 3)
    const written = this.#buffer.write(json, this.#end + 5, 'utf8')
    this.#int32(written + 1)
    this.#buffer[this.#end++] = JSONB_VERSION
    this.#end += written
  }

  bytea (value: Buffer): void {
    this.#reserve(4 + value.length)
    this.#int32(value.length)
    this.#end += value.copy(this.#buffer, this.#end)
  }

  /** @param bytes - 16 characters of latin1 */
  uuid (bytes: string): void {
    this.#reserve(20)
    this.#int32(16)
    this.#end += this.#buffer.write(bytes, this.#end, 16, 'latin1')
  }

  float8 (value: number): void {
    this.#reserve(12)
    this.#int32(8)
    this.#end = this.#buffer.writeDoubleBE(value, this.#end)
  }

  int4 (value: number): void {
    this.int32(4)
    this.int32(value)
  }

  /** @param unixUs - Unix microseconds, a whole number of at most 2^53 */
  timestamptz (unixUs: number): void {
    this.int8(unixUs - UNIX_TO_POSTGRES_EPOCH_US)
  }

  /** @param value - a whole number of at most 2^53 */
  int8 (value: number): void {
    this.#reserve(12)
    this.#int32(8)
    // Two halves instead of writeBigInt64BE, which allocates a BigInt for each row.
    const high = Math.floor(value / TWO_TO_32)
    this.#int32(high)
    this.#end = this.#buffer.writeUInt32BE(value - high * TWO_TO_32, this.#end)
  }

  /** The bytes that were written; the writer must not be used afterwards. */
  finish (): Buffer {
    return this.#buffer.subarray(0, this.#end)
  }

  #int32 (value: number): void {
    const buffer = this.#buffer
    let end = this.#end
    buffer[end++] = value >>> 24
    buffer[end++] = value >>> 16
    buffer[end++] = value >>> 8
    buffer[end++] = value
    this.#end = end
  }

  #reserve (bytes: number): void {
    const needed = this.#end + bytes
    if (needed <= this.#buffer.length) return
    const grown = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2))
    this.#buffer.copy(grown, 0, 0, this.#end)
    this.#buffer = grown
  }
}
