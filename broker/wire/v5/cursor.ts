/** Reads the fields of one packet of MQTT 5 (§1.5), one after the other. */
import { endOfField, isText, toUint16 } from '../fields.ts'
import { decodeLength, isMinimalLength, LENGTH_INCOMPLETE, LENGTH_MALFORMED, lengthBytes, lengthValue } from '../fixed-header.ts'
import { PacketError } from './packet-error.ts'

/** A position in `bytes` that each field moves. Fields that do not fit before `end` throw a `PacketError`. */
export class Cursor {
  readonly bytes: Buffer
  at: number
  end: number

  constructor (bytes: Buffer, at = 0, end = bytes.length) {
    this.bytes = bytes
    this.at = at
    this.end = end
  }

  get isAtEnd (): boolean {
    return this.at === this.end
  }

  byte (): number {
    return this.bytes[this.#skip(1)]!
  }

  uint16 (): number {
    return toUint16(this.bytes, this.#skip(2))
  }

  uint32 (): number {
    return this.bytes.readUInt32BE(this.#skip(4))
  }

  /** A variable byte integer, in as few bytes as it needs. */
  variableInteger (): number {
    const decoded = decodeLength(this.bytes, this.at, this.end)
    if (decoded === LENGTH_INCOMPLETE) throw new PacketError('truncated')
    if (decoded === LENGTH_MALFORMED || !isMinimalLength(decoded)) throw new PacketError('variable_integer')
    this.at += lengthBytes(decoded)
    return lengthValue(decoded)
  }

  packetId (): number {
    const packetId = this.uint16()
    if (packetId === 0) throw new PacketError('packet_id')
    return packetId
  }

  /** @returns where the bytes of a length-prefixed field begin; `at` is where they end */
  field (): number {
    const start = this.at + 2
    const end = endOfField(this.bytes, this.at, this.end)
    if (end === -1) throw new PacketError('truncated')
    this.at = end
    return start
  }

  /** Checks a UTF-8 string without making one. */
  skipText (): void {
    const start = this.field()
    if (!isText(this.bytes, start, this.at)) throw new PacketError('text')
  }

  text (): string {
    const start = this.at + 2
    this.skipText()
    return this.bytes.toString('utf8', start, this.at)
  }

  /** @returns a view of `bytes`; a caller that keeps it copies it */
  binary (): Buffer {
    const start = this.field()
    return this.bytes.subarray(start, this.at)
  }

  /** @throws `trailing_bytes` when anything follows the last field */
  finish (): void {
    if (this.at < this.end) throw new PacketError('trailing_bytes')
  }

  #skip (bytes: number): number {
    const start = this.at
    if (start + bytes > this.end) throw new PacketError('truncated')
    this.at = start + bytes
    return start
  }
}
