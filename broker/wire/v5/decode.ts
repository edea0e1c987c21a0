/**
 * Packets of a client of MQTT 5, from bytes. Any bytes either decode or throw a {@link PacketError}.
 *
 * Buffers in what is returned are views of the packet: a caller that keeps one longer than the packet copies it.
 */
import { isUtf8 } from 'node:buffer'
import { endOfField, PASSWORD, toUint16, USER_NAME, WILL, WILL_QOS, WILL_RETAIN } from '../fields.ts'
import {
  AUTH, CONNECT, DISCONNECT, DUP, PACKET_TYPES, PINGREQ, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, QOS, RETAIN, SUBSCRIBE,
  typeOf, UNSUBSCRIBE
} from '../fixed-header.ts'
import { checkTopic } from '../topic-text.ts'
import { Cursor } from './cursor.ts'
import { toFilter } from './filter.ts'
import { PacketError } from './packet-error.ts'
import { CARRIER, decodeProperties } from './properties.ts'
import { DISCONNECT_REASONS, type ReasonCode5, REASONS5, RECEIPT_REASONS, RELEASE_REASONS } from './reason-codes.ts'

export type QoS = 0 | 1 | 2

export interface Will5 {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
  readonly delayS: number
  readonly messageExpiryS: number | null
  /** Encoded properties that subscribers get unaltered, in the order in which they came. */
  readonly forwarded: Buffer | null
}

export interface Connect5 {
  /** Empty where the server is to assign one [MQTT-3.1.3-6]. */
  readonly clientId: string
  readonly cleanStart: boolean
  readonly keepAliveS: number
  readonly username?: string
  /** May come without a user name (§3.1.2.9). */
  readonly password?: Buffer
  /** `Infinity` for a session that never ends. */
  readonly sessionExpiryS: number
  readonly receiveMaximum: number
  readonly maximumPacketSize: number | null
  readonly topicAliasMaximum: number
  readonly requestResponseInformation: boolean
  readonly requestProblemInformation: boolean
  readonly authenticationMethod: string | null
  readonly will: Will5 | null
}

/** Offsets are positions in the bytes that {@link decodePublish} was given. */
export interface Publish5 {
  readonly qos: QoS
  readonly isRetained: boolean
  readonly isDuplicate: boolean
  /** 0 at QoS 0. */
  readonly packetId: number
  readonly topicStart: number
  readonly topicEnd: number
  readonly topicAlias: number | null
  readonly messageExpiryS: number | null
  /** Encoded properties that subscribers get unaltered, in the order in which they came. */
  readonly forwarded: Buffer | null
  readonly payloadStart: number
}

export interface Ack5 {
  readonly packetId: number
  readonly reasonCode: ReasonCode5
}

export interface Subscription5 {
  readonly filter: string
  readonly qos: QoS
  readonly noLocal: boolean
  readonly retainAsPublished: boolean
  readonly retainHandling: 0 | 1 | 2
}

export interface Subscribe5 {
  readonly packetId: number
  readonly subscriptionIdentifier: number | null
  readonly subscriptions: Subscription5[]
}

export interface Unsubscribe5 {
  readonly packetId: number
  readonly filters: string[]
}

export interface Disconnect5 {
  readonly reasonCode: ReasonCode5
  /** `Infinity` for a session that never ends; `null` where it stays as CONNECT said. */
  readonly sessionExpiryS: number | null
}

/** The payload is not the UTF-8 that its Payload Format Indicator promises; the packet is well-formed otherwise. */
export class PayloadFormatError extends PacketError {
  /** So that a caller can answer with a PUBACK or PUBREC, and keep what came. */
  readonly publish: Publish5

  constructor (publish: Publish5) {
    super('payload_format')
    this.publish = publish
  }
}

/** Types that a client may send, each with the flags of its fixed header. PUBLISH has flags of its own. */
const FLAGS_OF: ReadonlyArray<number | undefined> = toFlagsOf([
  [CONNECT, 0], [PUBACK, 0], [PUBREC, 0], [PUBREL, 2], [PUBCOMP, 0], [SUBSCRIBE, 2], [UNSUBSCRIBE, 2], [PINGREQ, 0],
  [DISCONNECT, 0], [AUTH, 0]
])

function toFlagsOf (rows: ReadonlyArray<readonly [type: number, flags: number]>): Array<number | undefined> {
  return Array.from({ length: PACKET_TYPES }, (_, type) => rows.find(([one]) => one === type)?.[1])
}

/**
 * Checks the type and the flags of a packet.
 * @throws PacketError
 */
export function checkFirstByte5 (firstByte: number): void {
  const type = typeOf(firstByte)
  if (type === PUBLISH) {
    if ((firstByte & QOS) === QOS) throw new PacketError('publish_qos')
    if ((firstByte & (DUP | QOS)) === DUP) throw new PacketError('publish_dup')
    return
  }
  if (type === 0) throw new PacketError('packet_type')
  const flags = FLAGS_OF[type]
  if (flags === undefined) throw new PacketError('packet_direction')
  if ((firstByte & 0x0F) !== flags) throw new PacketError('header_flags')
}

/**
 * Checks the remaining length of a packet without a body, which nothing decodes.
 * @param length - of the body, in bytes
 * @throws PacketError
 */
export function checkPingreq5 (length: number): void {
  if (length > 0) throw new PacketError('body_length')
}

/**
 * @param body - of a CONNECT (§3.1), whole
 * @throws PacketError; 0x84 for another protocol or level, 0x99 for a will that is not the text it promises
 */
export function decodeConnect (body: Buffer): Connect5 {
  const cursor = new Cursor(body)
  if (cursor.binary().toString('latin1') !== 'MQTT') throw new PacketError('protocol_name')
  if (cursor.byte() !== 5) throw new PacketError('protocol_level')
  const flags = toConnectFlags(cursor.byte())
  const keepAliveS = cursor.uint16()
  const properties = decodeProperties(cursor, CARRIER.connect)
  // Authentication Data without a method (§3.1.2.11.10).
  if (properties.hasAuthenticationData && properties.authenticationMethod === null) throw new PacketError('authentication_data')
  // In this order [MQTT-3.1.3-1].
  const clientId = cursor.text()
  const will = (flags & WILL) === 0 ? null : decodeWill(cursor, flags)
  const username = (flags & USER_NAME) === 0 ? {} : { username: cursor.text() }
  const password = (flags & PASSWORD) === 0 ? {} : { password: cursor.binary() }
  cursor.finish()
  return {
    clientId,
    cleanStart: (flags & 0x02) !== 0,
    keepAliveS,
    ...username,
    ...password,
    sessionExpiryS: properties.sessionExpiryS ?? 0,
    receiveMaximum: properties.receiveMaximum,
    maximumPacketSize: properties.maximumPacketSize,
    topicAliasMaximum: properties.topicAliasMaximum,
    requestResponseInformation: properties.requestResponseInformation,
    requestProblemInformation: properties.requestProblemInformation,
    authenticationMethod: properties.authenticationMethod,
    will
  }
}

function toConnectFlags (flags: number): number {
  if ((flags & 0x01) !== 0) throw new PacketError('connect_flags')
  if ((flags & WILL) === 0 && (flags & (WILL_QOS | WILL_RETAIN)) !== 0) throw new PacketError('will_flags')
  if ((flags & WILL_QOS) === WILL_QOS) throw new PacketError('will_qos')
  return flags
}

function decodeWill (cursor: Cursor, flags: number): Will5 {
  const { willDelayS, messageExpiryS, forwarded, isPayloadText } = decodeProperties(cursor, CARRIER.will)
  const topicStart = cursor.field()
  const topic = toTopicName(cursor.bytes, topicStart, cursor.at)
  const payload = cursor.binary()
  if (isPayloadText && !isUtf8(payload)) throw new PacketError('payload_format')
  return {
    topic, payload, qos: (flags & WILL_QOS) >> 3 as QoS, retain: (flags & WILL_RETAIN) !== 0, delayS: willDelayS, messageExpiryS, forwarded
  }
}

/**
 * Decodes a PUBLISH (§3.3) without the text of its topic: {@link toTopicName} decodes that. Without properties it makes
 * one object and no view of `bytes`.
 * @param firstByte - accepted by {@link checkFirstByte5}
 * @param start - of the body in `bytes`
 * @param end - of the body, which is the end of the payload
 * @throws PacketError; {@link PayloadFormatError} for a payload that is not the text it promises
 */
export function decodePublish (firstByte: number, bytes: Buffer, start: number, end: number): Publish5 {
  const topicEnd = endOfField(bytes, start, end)
  if (topicEnd === -1) throw new PacketError('truncated')
  const qos = (firstByte & QOS) >> 1 as QoS
  let packetId = 0
  let at = topicEnd
  if (qos > 0) {
    if (at + 2 > end) throw new PacketError('truncated')
    packetId = toUint16(bytes, at)
    if (packetId === 0) throw new PacketError('packet_id')
    at += 2
  }
  if (at === end) throw new PacketError('truncated')
  if (bytes[at] !== 0) return decodeLongPublish(firstByte, bytes, start, topicEnd, packetId, at, end)
  return {
    qos,
    isRetained: (firstByte & RETAIN) !== 0,
    isDuplicate: (firstByte & DUP) !== 0,
    packetId,
    topicStart: start + 2,
    topicEnd,
    topicAlias: null,
    messageExpiryS: null,
    forwarded: null,
    payloadStart: at + 1
  }
}

/** A PUBLISH with properties. Its object has the fields in the same order, so that V8 gives both one shape. */
function decodeLongPublish (
  firstByte: number, bytes: Buffer, start: number, topicEnd: number, packetId: number, propertiesAt: number, end: number
): Publish5 {
  const cursor = new Cursor(bytes, propertiesAt, end)
  const { topicAlias, messageExpiryS, forwarded, isPayloadText } = decodeProperties(cursor, CARRIER.publish)
  const publish = {
    qos: (firstByte & QOS) >> 1 as QoS,
    isRetained: (firstByte & RETAIN) !== 0,
    isDuplicate: (firstByte & DUP) !== 0,
    packetId,
    topicStart: start + 2,
    topicEnd,
    topicAlias,
    messageExpiryS,
    forwarded,
    payloadStart: cursor.at
  }
  if (isPayloadText && !isUtf8(bytes.subarray(cursor.at, end))) throw new PayloadFormatError(publish)
  return publish
}

/**
 * @returns the topic name in `bytes` from `start` to `end`
 * @throws PacketError where it is empty, ill-formed UTF-8, or has U+0000 or a wildcard
 */
export function toTopicName (bytes: Buffer, start: number, end: number): string {
  const wrong = checkTopic(bytes, start, end)
  if (wrong !== null) throw new PacketError(wrong)
  return bytes.toString('utf8', start, end)
}

/** A reason code, which is 0x00 where the packet ends before it. */
function toReasonCode (cursor: Cursor, allowed: ReadonlySet<number>): ReasonCode5 {
  const reasonCode = cursor.isAtEnd ? REASONS5.success : cursor.byte()
  if (!allowed.has(reasonCode)) throw new PacketError('reason_code')
  return reasonCode as ReasonCode5
}

/**
 * @param type - PUBACK, PUBREC, PUBREL or PUBCOMP
 * @param body - of the packet (§3.4 to §3.7), whole
 * @throws PacketError
 */
export function decodeAck (type: number, body: Buffer): Ack5 {
  const cursor = new Cursor(body)
  const packetId = cursor.packetId()
  const reasonCode = toReasonCode(cursor, type === PUBACK || type === PUBREC ? RECEIPT_REASONS : RELEASE_REASONS)
  if (!cursor.isAtEnd) decodeProperties(cursor, CARRIER.acknowledgement)
  cursor.finish()
  return { packetId, reasonCode }
}

/**
 * @param body - of a SUBSCRIBE (§3.8), whole
 * @throws PacketError
 */
export function decodeSubscribe (body: Buffer): Subscribe5 {
  const cursor = new Cursor(body)
  const packetId = cursor.packetId()
  const { subscriptionIdentifier } = decodeProperties(cursor, CARRIER.subscribe)
  if (cursor.isAtEnd) throw new PacketError('filter_missing')
  const subscriptions: Subscription5[] = []
  while (!cursor.isAtEnd) subscriptions.push(toSubscription(cursor))
  return { packetId, subscriptionIdentifier, subscriptions }
}

function toSubscription (cursor: Cursor): Subscription5 {
  const { filter, isShared } = toFilter(cursor)
  const options = cursor.byte()
  if ((options & 0xC0) !== 0) throw new PacketError('subscription_options')
  const qos = options & 0x03
  if (qos === 3) throw new PacketError('requested_qos')
  const retainHandling = options >> 4
  if (retainHandling === 3) throw new PacketError('retain_handling')
  const noLocal = (options & 0x04) !== 0
  if (noLocal && isShared) throw new PacketError('share_no_local')
  return {
    filter, qos: qos as QoS, noLocal, retainAsPublished: (options & 0x08) !== 0, retainHandling: retainHandling as 0 | 1 | 2
  }
}

/**
 * @param body - of an UNSUBSCRIBE (§3.10), whole
 * @throws PacketError
 */
export function decodeUnsubscribe (body: Buffer): Unsubscribe5 {
  const cursor = new Cursor(body)
  const packetId = cursor.packetId()
  decodeProperties(cursor, CARRIER.unsubscribe)
  if (cursor.isAtEnd) throw new PacketError('filter_missing')
  const filters: string[] = []
  while (!cursor.isAtEnd) filters.push(toFilter(cursor).filter)
  return { packetId, filters }
}

/**
 * @param body - of a DISCONNECT (§3.14), whole; empty for reason code 0x00
 * @throws PacketError
 */
export function decodeDisconnect (body: Buffer): Disconnect5 {
  const cursor = new Cursor(body)
  const reasonCode = toReasonCode(cursor, DISCONNECT_REASONS)
  const sessionExpiryS = cursor.isAtEnd ? null : decodeProperties(cursor, CARRIER.disconnect).sessionExpiryS
  cursor.finish()
  return { reasonCode, sessionExpiryS }
}
