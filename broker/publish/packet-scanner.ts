import {
  addLengthByte, CONNECT, DISCONNECT, isLastLengthByte, isPublishQos1, LENGTH_BYTES_MAX, PACKET_TYPES, PUBLISH, typeOf
} from '../wire/fixed-header.ts'
import { checkBody, checkedBytes, checkFirstByte, checkLength, type Malformed } from '../wire/rules.ts'

/** Why a byte stream is refused. */
export type PacketViolation = 'packet_too_large' | 'malformed_length' | Malformed

/** Where {@link PacketScanner.scan} stops. */
export const SCAN = {
  /** Nowhere. */
  all: 0,
  /** Before the next PUBLISH that has not begun yet. */
  untilPublish: 1,
  /** After the packet that is under way. */
  onePacket: 2,
  /** Before the next PUBLISH that the fast path may take, after one packet at least. */
  untilFastPath: 3
} as const

export type ScanMode = typeof SCAN[keyof typeof SCAN]

/** Received packets by control packet type (MQTT 3.1.1 §2.2.1), and bytes; shared by all scanners of a broker. */
export interface Traffic {
  readonly packetsByType: Float64Array
  bytesReceived: number
}

/** @returns counters at zero */
export function createTraffic (): Traffic {
  return { packetsByType: new Float64Array(PACKET_TYPES), bytesReceived: 0 }
}

/** Counts a CONNECT that was refused before a scanner existed for it. */
export function noteConnect (traffic: Traffic, bytes: number): void {
  traffic.packetsByType[CONNECT]!++
  traffic.bytesReceived += bytes
}

/** Initial room for a packet that is checked in pieces; it doubles as needed. */
const PIECES_BYTES_MIN = 64

/**
 * Follows the packets of one connection over its chunks, and checks each (wire/rules.ts) as soon as enough of it has
 * come. A chunk may end anywhere, within a fixed header too. A body is skipped by its length. The bytes of a body that
 * are checked are read where they lie, and copied only when a chunk ends within them.
 */
export class PacketScanner {
  readonly #traffic: Traffic
  packetBytesMax: number
  /** Set by `scan`, for good. */
  violation: PacketViolation | null = null
  /** A DISCONNECT has passed: no packet may follow [MQTT-3.14.4-1]. */
  isOver = false
  /** Bytes of the current body that are still to come. */
  #bodyBytes = 0
  /** Bytes of the current fixed header seen so far; 0 between packets and in a body. */
  #headerBytes = 0
  #length = 0
  #isLast = false
  #firstByte = 0
  #isConnectDue = true
  /** The beginning of a body that is checked once more of it has come. */
  #pieces: Buffer | null = null
  #piecesBytes = 0

  constructor ({ traffic, packetBytesMax }: { traffic: Traffic, packetBytesMax: number }) {
    this.#traffic = traffic
    this.packetBytesMax = packetBytesMax
  }

  /** Whether the last byte scanned ended a packet. */
  get atBoundary (): boolean {
    return this.#bodyBytes === 0 && this.#headerBytes === 0
  }

  /**
   * @returns how many bytes of `chunk` may pass: all, or those up to where `mode` stops, or those before the packet
   *   that set {@link PacketScanner.violation}, or those up to the end of a DISCONNECT
   */
  scan (chunk: Uint8Array, mode: ScanMode): number {
    const { packetsByType } = this.#traffic
    const end = this.isOver ? 0 : chunk.length
    let bodyBytes = this.#bodyBytes
    let headerBytes = this.#headerBytes
    let length = this.#length
    let at = 0
    let packetAt = 0
    while (at < end) {
      if (bodyBytes > 0) {
        const skipped = bodyBytes < end - at ? bodyBytes : end - at
        if (this.#pieces !== null && !this.#addPiece(chunk, at, at + skipped, bodyBytes)) return packetAt
        at += skipped
        bodyBytes -= skipped
        if (bodyBytes > 0 || mode === SCAN.onePacket || this.#isLast) break
        continue
      }
      const byte = chunk[at]!
      if (headerBytes === 0) {
        const type = typeOf(byte)
        if (type === PUBLISH && mode === SCAN.untilPublish) break
        if (at > 0 && mode === SCAN.untilFastPath && isPublishQos1(byte)) break
        packetAt = at
        this.violation = this.#checkFirstByte(byte)
        if (this.violation !== null) return packetAt
        this.#firstByte = byte
        this.#isLast = type === DISCONNECT
        packetsByType[type]!++
        length = 0
        headerBytes = 1
        at++
        continue
      }
      at++
      length = addLengthByte(length, byte, headerBytes - 1)
      headerBytes++
      if (!isLastLengthByte(byte)) {
        if (headerBytes <= LENGTH_BYTES_MAX) continue
        this.violation = 'malformed_length'
        return packetAt
      }
      if (headerBytes + length > this.packetBytesMax) {
        this.violation = 'packet_too_large'
        return packetAt
      }
      if (!this.#begin(chunk, at, end, length)) return packetAt
      bodyBytes = length
      headerBytes = 0
      if (length === 0 && (mode === SCAN.onePacket || this.#isLast)) break
    }
    this.isOver = this.#isLast && bodyBytes === 0 && headerBytes === 0
    this.#bodyBytes = bodyBytes
    this.#headerBytes = headerBytes
    this.#length = length
    this.#traffic.bytesReceived += at
    return at
  }

  #checkFirstByte (byte: number): Malformed | null {
    const isConnect = typeOf(byte) === CONNECT
    if (isConnect !== this.#isConnectDue) return isConnect ? 'connect_again' : 'connect_missing'
    this.#isConnectDue = false
    return checkFirstByte(byte)
  }

  /** Checks as much of a packet as has come. @param at - where its body begins. @returns false when it breaks a rule */
  #begin (chunk: Uint8Array, at: number, end: number, length: number): boolean {
    const firstByte = this.#firstByte
    this.violation = checkLength(firstByte, length)
    if (this.violation !== null) return false
    const bodyEnd = Math.min(at + length, end)
    const checked = checkedBytes(firstByte, length, chunk, at, bodyEnd)
    if (at + checked <= bodyEnd) {
      this.violation = checkBody(firstByte, chunk, at, at + checked)
      return this.violation === null
    }
    this.#pieces = Buffer.allocUnsafe(Math.max(PIECES_BYTES_MIN, bodyEnd - at))
    this.#piecesBytes = 0
    return true
  }

  /** @param bodyBytes - that were still to come before this piece. @returns false when the packet breaks a rule */
  #addPiece (chunk: Uint8Array, start: number, end: number, bodyBytes: number): boolean {
    let pieces = this.#pieces!
    const had = this.#piecesBytes
    const length = had + bodyBytes
    const has = had + end - start
    if (has > pieces.length) {
      // Doubled, so that a packet that comes byte by byte is not copied for each.
      pieces = Buffer.allocUnsafe(Math.max(pieces.length * 2, has))
      pieces.set(this.#pieces!.subarray(0, had))
      this.#pieces = pieces
    }
    pieces.set(chunk.subarray(start, end), had)
    this.#piecesBytes = has
    const checked = checkedBytes(this.#firstByte, length, pieces, 0, has)
    if (has < checked) return true
    this.violation = checkBody(this.#firstByte, pieces, 0, checked)
    this.#pieces = null
    return this.violation === null
  }
}
