/** Packets that the gateway writes itself, as bytes. Aedes writes the others. */
import { CONNACK, DUP, encodedLengthBytes, PUBACK, PUBLISH, PUBREL, RETAIN, writeLength } from './fixed-header.ts'

/** CONNACK return codes (MQTT 3.1.1 §3.2.2.3). */
export const RETURN_CODES = {
  unacceptableProtocolLevel: 1,
  identifierRejected: 2,
  notAuthorized: 5
} as const

export type ReturnCode = typeof RETURN_CODES[keyof typeof RETURN_CODES]

/** Instead of a granted QoS in SUBACK (MQTT 3.1.1 §3.9.3). */
export const SUBSCRIPTION_REFUSED = 0x80

/** A CONNACK without a session. */
export function encodeConnack (returnCode: ReturnCode): Buffer {
  return Buffer.from([CONNACK << 4, 2, 0, returnCode])
}

const PUBACK_BYTES = 4

/** PUBACKs (MQTT 3.1.1 §3.4) in the order of `packetIds`. */
export function encodePubacks (packetIds: readonly number[]): Buffer {
  const packets = Buffer.allocUnsafe(packetIds.length * PUBACK_BYTES)
  let at = 0
  for (const packetId of packetIds) {
    packets[at++] = PUBACK << 4
    packets[at++] = 2
    packets[at++] = packetId >> 8
    packets[at++] = packetId & 0xff
  }
  return packets
}

export interface PublishFlags {
  readonly qos: 0 | 1 | 2
  readonly isRetained: boolean
  readonly isDuplicate: boolean
  /** Left out at QoS 0 [MQTT-2.3.1-5]. */
  readonly packetId: number
}

/** A PUBLISH (MQTT 3.1.1 §3.3) in one piece: mqtt-packet writes five, each of them a step of the stream. */
export function encodePublish (
  topic: string, payload: Buffer, { qos, isRetained, isDuplicate, packetId }: PublishFlags
): Buffer {
  const topicBytes = Buffer.byteLength(topic)
  const length = 2 + topicBytes + (qos > 0 ? 2 : 0) + payload.length
  const packet = Buffer.allocUnsafe(1 + encodedLengthBytes(length) + length)
  packet[0] = PUBLISH << 4 | (isDuplicate ? DUP : 0) | qos << 1 | (isRetained ? RETAIN : 0)
  let at = writeLength(packet, 1, length)
  at = packet.writeUInt16BE(topicBytes, at)
  at += packet.write(topic, at)
  if (qos > 0) at = packet.writeUInt16BE(packetId, at)
  payload.copy(packet, at)
  return packet
}

/** A PUBREL (MQTT 3.1.1 §3.6). */
export function encodePubrel (packetId: number): Buffer {
  return Buffer.from([PUBREL << 4 | 2, 2, packetId >> 8, packetId & 0xff])
}
