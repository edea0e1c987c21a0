/**
 * The rules of MQTT 3.1.1 (and 3.1) for the bytes of one packet that a client sends.
 *
 * The read gate passes the packets before one that breaks a rule, and the connection is closed once those are
 * acknowledged. The rules are checked before Aedes' parser, because that parser decodes packets that its writer cannot
 * encode: a will of QoS 3 would be published and retained, and close every subscriber that it is written to. The
 * parser also replaces ill-formed UTF-8, so the bytes that were sent are lost behind it. ../README.md has the table of
 * clauses.
 */
import { endOfField, isText, PASSWORD, toUint16, USER_NAME, WILL, WILL_QOS, WILL_RETAIN } from './fields.ts'
import {
  CONNECT, DISCONNECT, DUP, PACKET_TYPES, PINGREQ, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, QOS, SUBSCRIBE, typeOf, UNSUBSCRIBE
} from './fixed-header.ts'
import { checkFilter, checkTopic } from './topic-text.ts'

/** Every rule by name, and the clause of MQTT 3.1.1 that it stands for. */
export const MALFORMED = {
  packet_type: '§2.2.1',
  header_flags: 'MQTT-2.2.2-2',
  body_length: '§2.2.3',
  truncated: '§2.2.3',
  trailing_bytes: '§2.2.3',
  packet_id: 'MQTT-2.3.1-1',
  text: 'MQTT-1.5.3-1, MQTT-1.5.3-2',
  connect_missing: 'MQTT-3.1.0-1',
  connect_again: 'MQTT-3.1.0-2',
  protocol_name: 'MQTT-3.1.2-1',
  protocol_level: 'MQTT-3.1.2-2',
  connect_flags: 'MQTT-3.1.2-3',
  will_flags: 'MQTT-3.1.2-11, MQTT-3.1.2-13, MQTT-3.1.2-15',
  will_qos: 'MQTT-3.1.2-14',
  password_flag: 'MQTT-3.1.2-22',
  publish_qos: 'MQTT-3.3.1-4',
  publish_dup: 'MQTT-3.3.1-2',
  topic_empty: 'MQTT-4.7.3-1',
  topic_wildcard: 'MQTT-3.3.2-2',
  filter_missing: 'MQTT-3.8.3-3, MQTT-3.10.3-2',
  filter_wildcard: 'MQTT-4.7.1-2, MQTT-4.7.1-3',
  requested_qos: 'MQTT-3.8.3-4'
} as const

export type Malformed = keyof typeof MALFORMED

/** Packets that a client may send, by type: flags of the fixed header, and the bytes of a body of fixed length. */
const FORMS: ReadonlyArray<{ readonly flags: number, readonly bodyBytes: number | null } | undefined> = toForms([
  [CONNECT, 0, null], [SUBSCRIBE, 2, null], [UNSUBSCRIBE, 2, null],
  [PUBACK, 0, 2], [PUBREC, 0, 2], [PUBREL, 2, 2], [PUBCOMP, 0, 2], [PINGREQ, 0, 0], [DISCONNECT, 0, 0]
])

function toForms (rows: ReadonlyArray<readonly [type: number, flags: number, bodyBytes: number | null]>) {
  return Array.from({ length: PACKET_TYPES }, (_, type) => {
    const row = rows.find(([one]) => one === type)
    return row === undefined ? undefined : { flags: row[1], bodyBytes: row[2] }
  })
}

/** A bit of the protocol level that Mosquitto's bridges set. */
const BRIDGE = 0x80

/** Checks the first byte of a packet: its type and flags. */
export function checkFirstByte (firstByte: number): Malformed | null {
  const type = typeOf(firstByte)
  if (type === PUBLISH) {
    if ((firstByte & QOS) === QOS) return 'publish_qos'
    return (firstByte & DUP) !== 0 && (firstByte & QOS) === 0 ? 'publish_dup' : null
  }
  const form = FORMS[type]
  if (form === undefined) return 'packet_type'
  return (firstByte & 0x0f) === form.flags ? null : 'header_flags'
}

/** Checks the length of a body. @param firstByte - accepted by {@link checkFirstByte} */
export function checkLength (firstByte: number, length: number): Malformed | null {
  return (FORMS[typeOf(firstByte)]?.bodyBytes ?? length) === length ? null : 'body_length'
}

/**
 * @returns how many bytes of a body {@link checkBody} needs: of a PUBLISH those before its payload, of other packets
 *   all
 */
export function checkedBytes (firstByte: number, length: number, bytes: Uint8Array, start: number, end: number): number {
  if (typeOf(firstByte) !== PUBLISH) return length
  if (end - start < 2) return Math.min(2, length)
  return Math.min(2 + toUint16(bytes, start) + ((firstByte & QOS) === 0 ? 0 : 2), length)
}

/**
 * Checks a body, or as many bytes of it as {@link checkedBytes} says.
 * @param firstByte - accepted by {@link checkFirstByte}
 */
export function checkBody (firstByte: number, bytes: Uint8Array, start: number, end: number): Malformed | null {
  switch (typeOf(firstByte)) {
    case CONNECT: return checkConnect(bytes, start, end)
    case PUBLISH: return checkPublish(firstByte, bytes, start, end)
    case SUBSCRIBE: return checkFilters(bytes, start, end, true)
    case UNSUBSCRIBE: return checkFilters(bytes, start, end, false)
    default: return end > start && toUint16(bytes, start) === 0 ? 'packet_id' : null
  }
}

/** Checks one whole packet. @param bodyAt - where its body begins */
export function checkPacket (packet: Uint8Array, bodyAt: number): Malformed | null {
  const firstByte = packet[0] as number
  return checkFirstByte(firstByte) ?? checkLength(firstByte, packet.length - bodyAt) ??
    checkBody(firstByte, packet, bodyAt, packet.length)
}

function checkPublish (firstByte: number, bytes: Uint8Array, start: number, end: number): Malformed | null {
  const topicEnd = endOfField(bytes, start, end)
  if (topicEnd === -1) return 'truncated'
  const wrong = checkTopic(bytes, start + 2, topicEnd)
  if (wrong !== null || (firstByte & QOS) === 0) return wrong
  if (topicEnd + 2 > end) return 'truncated'
  return toUint16(bytes, topicEnd) === 0 ? 'packet_id' : null
}

function checkFilters (bytes: Uint8Array, start: number, end: number, isSubscribe: boolean): Malformed | null {
  if (start + 2 > end) return 'truncated'
  if (toUint16(bytes, start) === 0) return 'packet_id'
  let at = start + 2
  if (at === end) return 'filter_missing'
  while (at < end) {
    const filterEnd = endOfField(bytes, at, end)
    if (filterEnd === -1) return 'truncated'
    const wrong = checkFilter(bytes, at + 2, filterEnd)
    if (wrong !== null) return wrong
    at = filterEnd
    if (!isSubscribe) continue
    if (at === end) return 'truncated'
    if ((bytes[at++] as number) > 2) return 'requested_qos'
  }
  return null
}

function checkConnect (bytes: Uint8Array, start: number, end: number): Malformed | null {
  let at = endOfField(bytes, start, end)
  if (at === -1) return 'truncated'
  const level = toLevel(bytes, start + 2, at)
  if (level === null) return 'protocol_name'
  if (at === end) return 'truncated'
  if (((bytes[at] as number) & ~BRIDGE) !== level) return 'protocol_level'
  if (at + 4 > end) return 'truncated'
  const flags = bytes[at + 1] as number
  const wrong = checkConnectFlags(flags)
  if (wrong !== null) return wrong
  at += 4
  // In this order (§3.1.3): client id, will topic, will message, user name, password.
  for (const [flag, kind] of CONNECT_FIELDS) {
    if ((flags & flag) !== flag) continue
    const fieldEnd = endOfField(bytes, at, end)
    if (fieldEnd === -1) return 'truncated'
    const wrong = kind === 'topic'
      ? checkTopic(bytes, at + 2, fieldEnd)
      : kind === 'text' && !isText(bytes, at + 2, fieldEnd) ? 'text' : null
    if (wrong !== null) return wrong
    at = fieldEnd
  }
  return at === end ? null : 'trailing_bytes'
}

/** Fields of a CONNECT's payload, each with the flag that announces it. */
const CONNECT_FIELDS = [[0, 'text'], [WILL, 'topic'], [WILL, 'binary'], [USER_NAME, 'text'], [PASSWORD, 'binary']] as const

function checkConnectFlags (flags: number): Malformed | null {
  if ((flags & 1) !== 0) return 'connect_flags'
  if ((flags & WILL) === 0 && (flags & (WILL_QOS | WILL_RETAIN)) !== 0) return 'will_flags'
  if ((flags & WILL_QOS) === WILL_QOS) return 'will_qos'
  return (flags & PASSWORD) !== 0 && (flags & USER_NAME) === 0 ? 'password_flag' : null
}

/** @returns the protocol level of a protocol name; `null` for a name that is not MQTT's */
function toLevel (bytes: Uint8Array, start: number, end: number): number | null {
  const name = String.fromCharCode(...bytes.subarray(start, Math.min(end, start + 7)))
  return name === 'MQTT' ? 4 : name === 'MQIsdp' ? 3 : null
}
