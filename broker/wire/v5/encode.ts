/** Packets of a server of MQTT 5, as bytes. */
import { TEXT_BYTES_MAX } from '../fields.ts'
import {
  CONNACK, DISCONNECT, DUP, encodedLengthBytes, PINGRESP as PINGRESP_TYPE, PUBLISH, PUBREL, RETAIN, SUBACK, UNSUBACK, writeLength
} from '../fixed-header.ts'
import { NEVER_EXPIRES, PROPERTY } from './property-ids.ts'
import { REASONS5, type ReasonCode5 } from './reason-codes.ts'

/** A PINGRESP (§3.13), the same bytes for every client. */
export const PINGRESP = Buffer.from([PINGRESP_TYPE << 4, 0])

/** Properties of a CONNACK (§3.2.2.3); one that is left out has the standard's default. */
export interface ConnackProperties5 {
  /** `Infinity` for a session that never ends. */
  readonly sessionExpiryS?: number
  readonly receiveMaximum?: number
  readonly maximumQoS?: 0 | 1
  readonly retainAvailable?: boolean
  /** What the server accepts. */
  readonly maximumPacketSize?: number
  readonly assignedClientId?: string
  readonly topicAliasMaximum?: number
  readonly reasonString?: string
  readonly wildcardSubscriptionAvailable?: boolean
  readonly subscriptionIdentifiersAvailable?: boolean
  readonly sharedSubscriptionAvailable?: boolean
  readonly serverKeepAliveS?: number
  readonly responseInformation?: string
  readonly serverReference?: string
}

const CONNACK_PROPERTIES = [
  ['sessionExpiryS', PROPERTY.sessionExpiryInterval, 4],
  ['receiveMaximum', PROPERTY.receiveMaximum, 2],
  ['maximumQoS', PROPERTY.maximumQoS, 1],
  ['retainAvailable', PROPERTY.retainAvailable, 1],
  ['maximumPacketSize', PROPERTY.maximumPacketSize, 4],
  ['assignedClientId', PROPERTY.assignedClientIdentifier, null],
  ['topicAliasMaximum', PROPERTY.topicAliasMaximum, 2],
  ['wildcardSubscriptionAvailable', PROPERTY.wildcardSubscriptionAvailable, 1],
  ['subscriptionIdentifiersAvailable', PROPERTY.subscriptionIdentifiersAvailable, 1],
  ['sharedSubscriptionAvailable', PROPERTY.sharedSubscriptionAvailable, 1],
  ['serverKeepAliveS', PROPERTY.serverKeepAlive, 2],
  ['responseInformation', PROPERTY.responseInformation, null],
  ['serverReference', PROPERTY.serverReference, null]
] as const

/**
 * A CONNACK (§3.2).
 * @param maximumPacketSize - that the client accepts; beyond it the Reason String is left out [MQTT-3.2.2-19]
 */
export function encodeConnack5 (
  { sessionPresent, reasonCode, properties }: {
    readonly sessionPresent: boolean, readonly reasonCode: ReasonCode5, readonly properties: ConnackProperties5
  },
  maximumPacketSize: number | null = null
): Buffer {
  const encoded = CONNACK_PROPERTIES.flatMap(([name, id, bytes]) => {
    const value = properties[name]
    if (value === undefined) return []
    return [typeof value === 'string' ? encodeText(id, Buffer.from(value)) : encodeNumber(id, Number(value), bytes ?? 0)]
  })
  const head = Buffer.from([sessionPresent ? 1 : 0, reasonCode])
  return toPacket(CONNACK << 4, head, Buffer.concat(encoded), properties.reasonString ?? null, maximumPacketSize)
}

/** @param value - `Infinity` is a session that never ends */
function encodeNumber (id: number, value: number, bytes: number): Buffer {
  const property = Buffer.allocUnsafe(1 + bytes)
  property[0] = id
  property.writeUIntBE(value === Infinity ? NEVER_EXPIRES : value, 1, bytes)
  return property
}

function encodeText (id: number, text: Buffer): Buffer {
  return Buffer.concat([Buffer.from([id, text.length >> 8, text.length & 0xFF]), text])
}

/** @returns the packet, without its Reason String where that would take it beyond `maximumPacketSize` */
function toPacket (
  firstByte: number, head: Buffer, properties: Buffer, reasonString: string | null, maximumPacketSize: number | null
): Buffer {
  const reason = encodeReason(reasonString)
  const packet = joinPacket(firstByte, head, [reason, properties])
  return reason.length === 0 || packet.length <= (maximumPacketSize ?? Infinity) ? packet : joinPacket(firstByte, head, [properties])
}

function joinPacket (firstByte: number, head: Buffer, properties: readonly Buffer[]): Buffer {
  const propertyBytes = properties.reduce((sum, { length }) => sum + length, 0)
  // The Property Length may be left out where there are none, of all packets but a CONNACK.
  const isShort = propertyBytes === 0 && firstByte !== CONNACK << 4
  const length = head.length + propertyBytes + (isShort ? 0 : encodedLengthBytes(propertyBytes))
  const packet = Buffer.allocUnsafe(1 + encodedLengthBytes(length) + length)
  packet[0] = firstByte
  let at = writeLength(packet, 1, length)
  at += head.copy(packet, at)
  if (!isShort) at = writeLength(packet, at, propertyBytes)
  for (const property of properties) at += property.copy(packet, at)
  return packet
}

/**
 * A Reason String (§2.2.2.2), or nothing where there is none or it is longer than a string may be. It may quote what a client
 * sent, so U+0000 is replaced: a client must close the connection over it [MQTT-1.5.4-2].
 */
function encodeReason (reasonString: string | null): Buffer {
  const text = Buffer.from((reasonString ?? '').replaceAll('\0', '\uFFFD'))
  return text.length === 0 || text.length > TEXT_BYTES_MAX ? Buffer.alloc(0) : encodeText(PROPERTY.reasonString, text)
}

export interface OutgoingPublish5 {
  /** Empty where `topicAlias` stands for it. At most 65,535 bytes. */
  readonly topic: string
  readonly topicAlias: number | null
  readonly payload: Buffer
  readonly qos: 0 | 1 | 2
  readonly isRetained: boolean
  readonly isDuplicate: boolean
  /** Left out at QoS 0 [MQTT-2.2.1-2]. */
  readonly packetId: number
  /** Whole seconds that are left [MQTT-3.3.2-6]. */
  readonly messageExpiryS: number | null
  readonly subscriptionIdentifiers: readonly number[]
  /** Encoded properties as the publisher sent them. */
  readonly forwarded: Buffer | null
}

/** A PUBLISH (§3.3) in one piece. */
export function encodePublish5 (publish: OutgoingPublish5): Buffer {
  const { topic, topicAlias, payload, qos, messageExpiryS, subscriptionIdentifiers, forwarded } = publish
  const topicBytes = Buffer.byteLength(topic)
  let propertyBytes = (topicAlias === null ? 0 : 3) + (messageExpiryS === null ? 0 : 5) + (forwarded === null ? 0 : forwarded.length)
  for (const identifier of subscriptionIdentifiers) propertyBytes += 1 + encodedLengthBytes(identifier)
  const length = 2 + topicBytes + (qos > 0 ? 2 : 0) + encodedLengthBytes(propertyBytes) + propertyBytes + payload.length
  const packet = Buffer.allocUnsafe(1 + encodedLengthBytes(length) + length)
  packet[0] = PUBLISH << 4 | (publish.isDuplicate ? DUP : 0) | qos << 1 | (publish.isRetained ? RETAIN : 0)
  let at = writeLength(packet, 1, length)
  at = packet.writeUInt16BE(topicBytes, at)
  at += packet.write(topic, at)
  if (qos > 0) at = packet.writeUInt16BE(publish.packetId, at)
  at = writeLength(packet, at, propertyBytes)
  if (topicAlias !== null) {
    packet[at++] = PROPERTY.topicAlias
    at = packet.writeUInt16BE(topicAlias, at)
  }
  if (messageExpiryS !== null) {
    packet[at++] = PROPERTY.messageExpiryInterval
    at = packet.writeUInt32BE(messageExpiryS, at)
  }
  for (const identifier of subscriptionIdentifiers) {
    packet[at++] = PROPERTY.subscriptionIdentifier
    at = writeLength(packet, at, identifier)
  }
  if (forwarded !== null) at += forwarded.copy(packet, at)
  payload.copy(packet, at)
  return packet
}

/**
 * A PUBACK, PUBREC, PUBREL or PUBCOMP (§3.4 to §3.7): four bytes for success without a Reason String.
 * @param type - of the packet
 * @param maximumPacketSize - that the client accepts; beyond it the Reason String is left out [MQTT-3.4.2-2]
 */
export function encodeAck5 (
  type: number, packetId: number, reasonCode: ReasonCode5, reasonString: string | null, maximumPacketSize: number | null
): Buffer {
  const firstByte = type << 4 | (type === PUBREL ? 2 : 0)
  if (reasonString === null && reasonCode === REASONS5.success) {
    return Buffer.from([firstByte, 2, packetId >> 8, packetId & 0xFF])
  }
  const packet = toPacket(
    firstByte, Buffer.from([packetId >> 8, packetId & 0xFF, reasonCode]), Buffer.alloc(0), reasonString, maximumPacketSize
  )
  const isPlain = packet.length === 5 && reasonCode === REASONS5.success
  return isPlain ? encodeAck5(type, packetId, reasonCode, null, maximumPacketSize) : packet
}

/** A SUBACK (§3.9). @param reasonCodes - one for each subscription, in their order [MQTT-3.8.4-6] */
export function encodeSuback5 (packetId: number, reasonCodes: readonly number[]): Buffer {
  return encodeReasonCodes(SUBACK, packetId, reasonCodes)
}

/** An UNSUBACK (§3.11). @param reasonCodes - one for each filter, in their order [MQTT-3.11.3-1] */
export function encodeUnsuback5 (packetId: number, reasonCodes: readonly ReasonCode5[]): Buffer {
  return encodeReasonCodes(UNSUBACK, packetId, reasonCodes)
}

function encodeReasonCodes (type: number, packetId: number, reasonCodes: readonly number[]): Buffer {
  const length = 3 + reasonCodes.length
  const packet = Buffer.allocUnsafe(1 + encodedLengthBytes(length) + length)
  packet[0] = type << 4
  let at = writeLength(packet, 1, length)
  at = packet.writeUInt16BE(packetId, at)
  packet[at++] = 0
  packet.set(reasonCodes, at)
  return packet
}

/**
 * A DISCONNECT (§3.14).
 * @param maximumPacketSize - that the client accepts; beyond it the Reason String is left out [MQTT-3.14.2-3]
 */
export function encodeDisconnect5 (
  reasonCode: ReasonCode5, reasonString: string | null, maximumPacketSize: number | null
): Buffer {
  return toPacket(DISCONNECT << 4, Buffer.from([reasonCode]), Buffer.alloc(0), reasonString, maximumPacketSize)
}
