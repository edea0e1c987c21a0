/** Why a byte stream is no MQTT that we take. */
export type FrameViolation = 'packet_too_large' | 'malformed_length'

/** Where {@link FrameScanner.scan} stops. */
export const SCAN = {
  /** Nowhere. */
  all: 0,
  /** Before the next PUBLISH that has not begun yet. */
  untilPublish: 1,
  /** After the packet that is under way. */
  onePacket: 2,
  /** Before the next publish that the express lane may want, after one packet at least. */
  untilExpress: 3
} as const

export type ScanMode = typeof SCAN[keyof typeof SCAN]

/** What has come in, by control packet type (MQTT 3.1.1 §2.2.1); shared by all scanners of a broker. */
export interface Traffic {
  readonly packetsByType: Float64Array
  bytesReceived: number
}

/** @returns counters at zero */
export function createTraffic (): Traffic {
  return { packetsByType: new Float64Array(16), bytesReceived: 0 }
}

/** Control packet type of CONNECT. */
const CONNECT = 1

/** Counts a CONNECT that no scanner saw. */
export function noteConnect (traffic: Traffic, bytes: number): void {
  (traffic.packetsByType[CONNECT] as number)++
  traffic.bytesReceived += bytes
}

/** Control packet type of PUBLISH. */
export const PUBLISH = 3

/** Control packet type of DISCONNECT. */
const DISCONNECT = 14

/** Of a remaining length [MQTT-2.2.3]. */
export const LENGTH_BYTES_MAX = 4

/** First byte of a PUBLISH of QoS 1 that is not retained (MQTT 3.1.1 §3.3.1). */
const PUBLISH_QOS_1 = 0x32
const DUP = 0x08

/** @param firstByte - of a packet: whether it is a PUBLISH of QoS 1, not retained, with or without DUP */
export function isPublishQos1 (firstByte: number): boolean {
  return (firstByte & ~DUP) === PUBLISH_QOS_1
}

/**
 * Follows the packet boundaries of one connection over its chunks, without looking into packets and without copying.
 * A fixed header is one byte (type and flags) and one to four bytes of remaining length (MQTT 3.1.1 §2.2.3),
 * and may be cut anywhere between chunks; a body is skipped by its length.
 */
export class FrameScanner {
  readonly #traffic: Traffic
  packetBytesMax: number
  /** Set by `scan`, for good. */
  violation: FrameViolation | null = null
  /** A DISCONNECT has passed: nothing may come behind it [MQTT-3.14.4-1]. */
  isOver = false
  /** Bytes of the current body that are still to come. */
  #bodyBytes = 0
  /** Bytes of the current fixed header seen so far; 0 between packets and in a body. */
  #headerBytes = 0
  #length = 0
  #isLast = false

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
   *   that set {@link FrameScanner.violation}, or those up to the end of a DISCONNECT
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
        at += skipped
        bodyBytes -= skipped
        if (bodyBytes > 0 || mode === SCAN.onePacket || this.#isLast) break
        continue
      }
      const byte = chunk[at] as number
      if (headerBytes === 0) {
        const type = byte >> 4
        if (type === PUBLISH && mode === SCAN.untilPublish) break
        if (at > 0 && mode === SCAN.untilExpress && isPublishQos1(byte)) break
        packetAt = at
        this.#isLast = type === DISCONNECT
        packetsByType[type] = (packetsByType[type] as number) + 1
        length = 0
        headerBytes = 1
        at++
        continue
      }
      at++
      length += (byte & 0x7f) * 2 ** (7 * (headerBytes - 1))
      headerBytes++
      if (byte >= 0x80) {
        if (headerBytes <= LENGTH_BYTES_MAX) continue
        this.violation = 'malformed_length'
        return packetAt
      }
      if (headerBytes + length > this.packetBytesMax) {
        this.violation = 'packet_too_large'
        return packetAt
      }
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
}
