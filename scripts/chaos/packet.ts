/** What a device needs beyond the bench's packets: sessions that last, DUP, and QoS 2. */
import { encodePublish } from '../bench/packet.ts'

export const PUBREC = 0x50
export const PUBCOMP = 0x70
const DUP = 0x08
const QOS_BITS = 0x06

/**
 * A CONNECT.
 * @param isClean - false: the client resends what was not acknowledged [MQTT-4.4.0-1]
 */
export function encodeConnect (clientId: string, keepaliveS: number, isClean: boolean): Buffer {
  const id = Buffer.from(clientId)
  if (id.length > 100) throw new RangeError('a client id of the harness is short')
  return Buffer.concat([
    Buffer.from([0x10, 12 + id.length, 0, 4]), Buffer.from('MQTT'),
    Buffer.from([4, isClean ? 2 : 0, keepaliveS >> 8, keepaliveS & 255, id.length >> 8, id.length & 255]), id
  ])
}

export function encodeSend (topic: string, payload: Buffer, messageId: number, qos: 1 | 2): Buffer {
  const { packet } = encodePublish(topic, payload, messageId)
  packet[0] = (packet[0]! & ~QOS_BITS) | (qos << 1)
  return packet
}

/** Sets DUP in a PUBLISH that is sent again [MQTT-3.3.1-1]. */
export function markDuplicate (packet: Buffer): void {
  packet[0]! |= DUP
}

export function encodePubrel (messageId: number): Buffer {
  return Buffer.from([0x62, 2, messageId >> 8, messageId & 255])
}

export function encodeSubscribe (messageId: number, filter: string, qos: 0 | 1): Buffer {
  const name = Buffer.from(filter)
  return Buffer.concat([
    Buffer.from([0x82, 5 + name.length, messageId >> 8, messageId & 255, name.length >> 8, name.length & 255]), name, Buffer.from([qos])
  ])
}
