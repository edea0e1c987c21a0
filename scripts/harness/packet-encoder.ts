/** What a device needs beyond the bench's packets: sessions that last, DUP, and QoS 2. */
import { encodeConnect as encodeCleanConnect, encodePublish } from './packet-scanner.ts'

export const PUBREC = 0x50
export const PUBCOMP = 0x70
const DUP = 0x08
/** Protocol name and level; the connect flags follow. */
const PROTOCOL = Buffer.from('MQTT\u0004')
const CLEAN_SESSION = 0x02
const QOS_BITS = 0x06

/**
 * A CONNECT.
 * @param isClean - false: the client resends what was not acknowledged [MQTT-4.4.0-1]
 * @param secret - the password; the user name is the client id then
 */
export function encodeConnect (clientId: string, keepaliveS: number, isClean: boolean, secret: string | null = null): Buffer {
  const packet = encodeCleanConnect(clientId, keepaliveS, secret ?? undefined)
  if (!isClean) packet[packet.indexOf(PROTOCOL) + PROTOCOL.length]! &= ~CLEAN_SESSION
  return packet
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
