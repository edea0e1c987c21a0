/** Fields of a packet's body (MQTT 3.1.1 §1.5). */
import { isUtf8 } from 'node:buffer'

/** Largest packet id; the smallest is 1 [MQTT-2.3.1-1]. */
export const PACKET_ID_MAX = 0xffff

/** Bytes of a string at most: its length has 16 bits (MQTT 3.1.1 §1.5.3). */
export const TEXT_BYTES_MAX = 0xffff

/** Flags of a CONNECT (MQTT 3.1.1 and 5, §3.1.2). */
export const WILL = 0x04
export const WILL_QOS = 0x18
export const WILL_RETAIN = 0x20
export const PASSWORD = 0x40
export const USER_NAME = 0x80

/** @returns the two bytes at `at` as a big-endian number */
export function toUint16 (bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) + bytes[at + 1]!
}

/** @returns where the field ends whose 16-bit length stands at `at`; -1 when it does not fit */
export function endOfField (bytes: Uint8Array, at: number, end: number): number {
  if (at + 2 > end) return -1
  const fieldEnd = at + 2 + toUint16(bytes, at)
  return fieldEnd > end ? -1 : fieldEnd
}

/**
 * @returns whether it is well-formed UTF-8 without surrogates, overlong forms and U+0000. ASCII costs a comparison a
 *   byte.
 */
export function isText (bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!
    if (byte === 0) return false
    if (byte < 0x80) continue
    const rest = bytes.subarray(at, end)
    return !rest.includes(0) && isUtf8(rest)
  }
  return true
}
