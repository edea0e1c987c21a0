/**
 * The encoding of protocol buffers, as far as the messages of this folder need it.
 * @see https://protobuf.dev/programming-guides/encoding/
 */

/** Of a field's tag: how its value is encoded. Groups, 3 and 4, are not in proto3. */
export const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const

/** The tag of a field. */
export const toTag = (field: number, wireType: number): number => field << 3 | wireType

/** The error for bytes that are not a message. */
export class MalformedMessage extends Error {
  constructor () {
    super('is not a message of protocol buffers')
  }
}

/** Varints up to this length are exact as a number; a uint64 has up to ten bytes. */
const EXACT_VARINT_BYTES = 7
const VARINT_BYTES_MAX = 10

/** Reads one message from its front to its end. Every method throws {@link MalformedMessage}. */
export class MessageReader {
  readonly #bytes: Buffer
  #at = 0
  #end: number

  constructor (bytes: Buffer) {
    this.#bytes = bytes
    this.#end = bytes.length
  }

  get isAtEnd (): boolean {
    return this.#at >= this.#end
  }

  /** A varint, as a number where it is exact, otherwise as a `bigint`. */
  readVarint (): number | bigint {
    const bytes = this.#bytes
    const start = this.#at
    let value = 0
    let factor = 1
    for (let at = start; at < this.#end && at - start < EXACT_VARINT_BYTES; at++) {
      const byte = bytes[at]!
      value += (byte & 0x7f) * factor
      if (byte < 0x80) {
        this.#at = at + 1
        return value
      }
      factor *= 0x80
    }
    return this.#readLongVarint()
  }

  #readLongVarint (): number | bigint {
    const start = this.#at
    let value = 0n
    for (let at = start; at < this.#end && at - start < VARINT_BYTES_MAX; at++) {
      const byte = this.#bytes[at]!
      value |= BigInt(byte & 0x7f) << BigInt(7 * (at - start))
      if (byte < 0x80) {
        this.#at = at + 1
        return value <= Number.MAX_SAFE_INTEGER ? Number(value) : BigInt.asUintN(64, value)
      }
    }
    throw new MalformedMessage()
  }

  /** A tag, or a length: at most 32 bits. */
  readUint32 (): number {
    const value = this.readVarint()
    if (typeof value === 'bigint' || value > 0xffff_ffff) throw new MalformedMessage()
    return value
  }

  readDouble (): number {
    const at = this.#at
    if (this.#end - at < 8) throw new MalformedMessage()
    this.#at = at + 8
    return this.#bytes.readDoubleLE(at)
  }

  /** A view of the bytes of a length-delimited field. */
  readBytes (): Buffer {
    const end = this.#readEnd()
    const bytes = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return bytes
  }

  /** Enters the message of a length-delimited field. @returns the end of the outer message */
  enter (): number {
    const outer = this.#end
    this.#end = this.#readEnd()
    return outer
  }

  /** Returns to the outer message. @param outer - what {@link enter} returned */
  leave (outer: number): void {
    this.#at = this.#end
    this.#end = outer
  }

  skip (wireType: number): void {
    if (wireType === WIRE.varint) this.readVarint()
    else if (wireType === WIRE.fixed64) this.#advance(8)
    else if (wireType === WIRE.bytes) this.#at = this.#readEnd()
    else if (wireType === WIRE.fixed32) this.#advance(4)
    else throw new MalformedMessage()
  }

  #readEnd (): number {
    const length = this.readUint32()
    if (length > this.#end - this.#at) throw new MalformedMessage()
    return this.#at + length
  }

  #advance (length: number): void {
    if (length > this.#end - this.#at) throw new MalformedMessage()
    this.#at += length
  }
}

/** Bytes of a varint. */
export function varintBytes (value: number | bigint): number {
  let bytes = 1
  if (typeof value === 'bigint') for (let rest = value >> 7n; rest > 0n; rest >>= 7n) bytes++
  else for (let rest = Math.floor(value / 0x80); rest > 0; rest = Math.floor(rest / 0x80)) bytes++
  return bytes
}

/** Writes a varint at `at`. @returns where it ends */
export function writeVarint (bytes: Buffer, at: number, value: number | bigint): number {
  if (typeof value === 'bigint') {
    let rest = value
    for (; rest > 0x7fn; rest >>= 7n) bytes[at++] = Number(rest & 0x7fn) | 0x80
    bytes[at++] = Number(rest)
    return at
  }
  let rest = value
  for (; rest > 0x7f; rest = Math.floor(rest / 0x80)) bytes[at++] = rest % 0x80 | 0x80
  bytes[at++] = rest
  return at
}

/** A length-delimited field. */
export function encodeBytes (field: number, value: Buffer | string): Buffer {
  const content = typeof value === 'string' ? Buffer.from(value) : value
  const bytes = Buffer.allocUnsafe(1 + varintBytes(content.length) + content.length)
  bytes[0] = toTag(field, WIRE.bytes)
  content.copy(bytes, writeVarint(bytes, 1, content.length))
  return bytes
}
