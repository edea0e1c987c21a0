/** The fixed header of a packet (MQTT 3.1.1 §2.2): type, flags and remaining length. */

/** Control packet types (MQTT 3.1.1 §2.2.1, MQTT 5 §2.1.2). */
export const CONNECT = 1
export const CONNACK = 2
export const PUBLISH = 3
export const PUBACK = 4
export const PUBREC = 5
export const PUBREL = 6
export const PUBCOMP = 7
export const SUBSCRIBE = 8
export const SUBACK = 9
export const UNSUBSCRIBE = 10
export const UNSUBACK = 11
export const PINGREQ = 12
export const PINGRESP = 13
export const DISCONNECT = 14
/** MQTT 5 only. */
export const AUTH = 15

/** Types 0 to 15, for a counter of each. */
export const PACKET_TYPES = 16

/** Flags of a PUBLISH (MQTT 3.1.1 §3.3.1). */
export const RETAIN = 0x01
export const QOS = 0x06
export const DUP = 0x08

/** Bytes of the smallest packet: a type and a length of 0. */
export const PACKET_BYTES_MIN = 2

/** Bytes of a remaining length at most (MQTT 3.1.1 §2.2.3). */
export const LENGTH_BYTES_MAX = 4

/** @returns the control packet type of a packet that begins with `firstByte` */
export function typeOf (firstByte: number): number {
  return firstByte >> 4
}

/** @returns whether `firstByte` begins a PUBLISH of QoS 1 that is not retained, with or without DUP */
export function isPublishQos1 (firstByte: number): boolean {
  return (firstByte & ~DUP) === (PUBLISH << 4 | 1 << 1)
}

/** @returns whether no byte of the remaining length follows `byte` */
export function isLastLengthByte (byte: number): boolean {
  return byte < 0x80
}

/**
 * Adds one byte to a remaining length.
 * @param length - of the bytes before
 * @param index - of `byte`, from 0
 */
export function addLengthByte (length: number, byte: number, index: number): number {
  return length | (byte & 0x7f) << 7 * index
}

/** What {@link decodeLength} returns while bytes are missing. */
export const LENGTH_INCOMPLETE = -1
/** What {@link decodeLength} returns for a length of more than {@link LENGTH_BYTES_MAX} bytes. */
export const LENGTH_MALFORMED = -2

/**
 * Decodes a remaining length. Value and size come as one integer, which costs no allocation: the value times four, plus
 * the number of bytes less one. {@link lengthValue} and {@link lengthBytes} take it apart.
 * @param at - of its first byte
 * @returns {@link LENGTH_INCOMPLETE} or {@link LENGTH_MALFORMED}, below 0, where it cannot be decoded
 */
export function decodeLength (bytes: Uint8Array, at: number, end: number): number {
  let length = 0
  const lastAt = at + LENGTH_BYTES_MAX
  for (let byteAt = at; byteAt < end && byteAt < lastAt; byteAt++) {
    const byte = bytes[byteAt]!
    length = addLengthByte(length, byte, byteAt - at)
    if (isLastLengthByte(byte)) return length << 2 | byteAt - at
  }
  return end < lastAt ? LENGTH_INCOMPLETE : LENGTH_MALFORMED
}

/** @param decoded - by {@link decodeLength}, not below 0. @returns the bytes of the packet's body */
export function lengthValue (decoded: number): number {
  return decoded >> 2
}

/** @param decoded - by {@link decodeLength}, not below 0. @returns the bytes of the remaining length itself */
export function lengthBytes (decoded: number): number {
  return (decoded & 3) + 1
}

/** @param decoded - by {@link decodeLength}, not below 0. @returns whether it has no more bytes than it needs [MQTT-1.5.5-1] */
export function isMinimalLength (decoded: number): boolean {
  return lengthBytes(decoded) === encodedLengthBytes(lengthValue(decoded))
}

/** @returns how many bytes the remaining length `length` is encoded in */
export function encodedLengthBytes (length: number): number {
  return length < 0x80 ? 1 : length < 0x4000 ? 2 : length < 0x20_0000 ? 3 : 4
}

/** Writes a remaining length. @returns the position behind it */
export function writeLength (bytes: Uint8Array, at: number, length: number): number {
  let rest = length
  while (rest >= 0x80) {
    bytes[at++] = rest & 0x7f | 0x80
    rest >>= 7
  }
  bytes[at++] = rest
  return at
}
