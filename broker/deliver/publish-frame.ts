import type { QoS } from '../session/delivery.ts'

/** First byte of a PUBLISH (MQTT 3.1.1 §3.3.1). */
const PUBLISH = 0x30
const DUP = 0x08
const RETAIN = 0x01

export interface PublishFlags {
  readonly qos: QoS
  readonly isRetained: boolean
  readonly isDuplicate: boolean
  /** Left out at QoS 0 [MQTT-2.3.1-5]. */
  readonly packetId: number
}

/** Encodes a PUBLISH of MQTT 3.1.1 in one piece: mqtt-packet writes five, each of them a step of the stream. */
export function encodePublish (
  topic: string, payload: Buffer, { qos, isRetained, isDuplicate, packetId }: PublishFlags
): Buffer {
  const topicBytes = Buffer.byteLength(topic)
  const length = 2 + topicBytes + (qos > 0 ? 2 : 0) + payload.length
  const lengthBytes = length < 0x80 ? 1 : length < 0x4000 ? 2 : length < 0x20_0000 ? 3 : 4
  const frame = Buffer.allocUnsafe(1 + lengthBytes + length)
  frame[0] = PUBLISH | (isDuplicate ? DUP : 0) | qos << 1 | (isRetained ? RETAIN : 0)
  let at = 1
  for (let rest = length; at <= lengthBytes; at++, rest >>= 7) frame[at] = rest & 0x7f | (at < lengthBytes ? 0x80 : 0)
  at = frame.writeUInt16BE(topicBytes, at)
  at += frame.write(topic, at)
  if (qos > 0) at = frame.writeUInt16BE(packetId, at)
  payload.copy(frame, at)
  return frame
}

/** A PUBREL (MQTT 3.1.1 §3.6). */
export function encodePubrel (packetId: number): Buffer {
  return Buffer.from([0x62, 2, packetId >> 8, packetId & 0xff])
}
