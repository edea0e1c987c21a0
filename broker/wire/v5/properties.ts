/**
 * Properties that a client sends (MQTT 5 §2.2.2), with the exact rules of each packet.
 *
 * No text of a client becomes a key. Texts that nothing uses are checked where they lie, and no string is made of them.
 * Properties of a message that its subscribers get unaltered stay bytes, in the order in which they came, repeats
 * included [MQTT-3.3.2-17], [MQTT-3.3.2-18].
 */
import { checkTopic } from '../topic-text.ts'
import type { Cursor } from './cursor.ts'
import { PacketError } from './packet-error.ts'
import { NEVER_EXPIRES, PROPERTY } from './property-ids.ts'

/** The packets that carry properties, as bits. */
export const CARRIER = {
  connect: 0x01,
  will: 0x02,
  publish: 0x04,
  /** PUBACK, PUBREC, PUBREL, PUBCOMP. */
  acknowledgement: 0x08,
  subscribe: 0x10,
  unsubscribe: 0x20,
  disconnect: 0x40
} as const

export type Carrier = typeof CARRIER[keyof typeof CARRIER]

const { connect, will, publish, acknowledgement, disconnect } = CARRIER
const message = will | publish
const IDS = 0x2B

/** Where a client may send a property, by its identifier. */
const CARRIERS_OF = toCarriersOf([
  [PROPERTY.payloadFormatIndicator, message], [PROPERTY.messageExpiryInterval, message], [PROPERTY.contentType, message],
  [PROPERTY.responseTopic, message], [PROPERTY.correlationData, message], [PROPERTY.willDelayInterval, will],
  [PROPERTY.topicAlias, publish], [PROPERTY.subscriptionIdentifier, publish | CARRIER.subscribe],
  [PROPERTY.sessionExpiryInterval, connect | disconnect], [PROPERTY.receiveMaximum, connect],
  [PROPERTY.maximumPacketSize, connect], [PROPERTY.topicAliasMaximum, connect],
  [PROPERTY.requestResponseInformation, connect], [PROPERTY.requestProblemInformation, connect],
  [PROPERTY.authenticationMethod, connect], [PROPERTY.authenticationData, connect],
  [PROPERTY.reasonString, acknowledgement | disconnect], [PROPERTY.serverReference, disconnect], [PROPERTY.userProperty, 0x7F]
])

function toCarriersOf (rows: ReadonlyArray<readonly [id: number, carriers: number]>): Uint8Array {
  const carriersOf = new Uint8Array(IDS)
  for (const [id, carriers] of rows) carriersOf[id] = carriers
  return carriersOf
}

/** Properties of one packet. Absent ones have the default that the standard gives, or `null` where it gives none. */
export class Properties {
  /** Seconds; `Infinity` for a session that never ends. */
  sessionExpiryS: number | null = null
  receiveMaximum = 0xFFFF
  maximumPacketSize: number | null = null
  topicAliasMaximum = 0
  requestResponseInformation = false
  requestProblemInformation = true
  authenticationMethod: string | null = null
  willDelayS = 0
  messageExpiryS: number | null = null
  topicAlias: number | null = null
  subscriptionIdentifier: number | null = null
  /** The Payload Format Indicator says that the payload is UTF-8. */
  isPayloadText = false
  hasAuthenticationData = false
  /** Encoded properties of a message that its subscribers get. A view of the packet where they are contiguous. */
  forwarded: Buffer | null = null

  /** Bits of identifiers below and above 32 that came. */
  #seenLow = 0
  #seenHigh = 0

  /** @throws `property_repeated` when `id` came before */
  addOnce (id: number): void {
    const bit = 1 << (id & 31)
    if (((id < 32 ? this.#seenLow : this.#seenHigh) & bit) !== 0) throw new PacketError('property_repeated')
    if (id < 32) this.#seenLow |= bit
    else this.#seenHigh |= bit
  }
}

/**
 * Decodes a property length and the properties behind it.
 * @param cursor - at the property length; left behind the last property
 * @throws PacketError
 */
export function decodeProperties (cursor: Cursor, carrier: Carrier): Properties {
  const properties = new Properties()
  const length = cursor.variableInteger()
  const packetEnd = cursor.end
  if (cursor.at + length > packetEnd) throw new PacketError('property_length')
  cursor.end = cursor.at + length
  // Bytes to forward, and where the ones behind them begin and end. Only Message Expiry, Topic Alias and Will Delay lie
  // between, each once, so there are three pieces at most.
  const pieces: Buffer[] = []
  let pieceAt = cursor.at
  while (!cursor.isAtEnd) {
    const start = cursor.at
    if (decodeProperty(cursor, carrier, properties)) continue
    if (pieceAt < start) pieces.push(cursor.bytes.subarray(pieceAt, start))
    pieceAt = cursor.at
  }
  if (pieceAt < cursor.at) pieces.push(cursor.bytes.subarray(pieceAt, cursor.at))
  if ((carrier & message) !== 0 && pieces.length > 0) properties.forwarded = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces)
  cursor.end = packetEnd
  return properties
}

/** @returns whether subscribers get the property */
function decodeProperty (cursor: Cursor, carrier: Carrier, properties: Properties): boolean {
  const id = cursor.variableInteger()
  if (((CARRIERS_OF[id] ?? 0) & carrier) === 0) throw new PacketError('property')
  if (id === PROPERTY.userProperty) {
    cursor.skipText()
    cursor.skipText()
    return true
  }
  properties.addOnce(id)
  switch (id) {
    case PROPERTY.payloadFormatIndicator:
      properties.isPayloadText = toFlag(cursor)
      return true
    case PROPERTY.contentType:
      cursor.skipText()
      return true
    case PROPERTY.responseTopic:
      skipTopic(cursor)
      return true
    case PROPERTY.correlationData:
      cursor.field()
      return true
    case PROPERTY.messageExpiryInterval:
      properties.messageExpiryS = cursor.uint32()
      return false
    case PROPERTY.topicAlias:
      properties.topicAlias = toTopicAlias(cursor)
      return false
    case PROPERTY.subscriptionIdentifier:
      if (carrier === publish) throw new PacketError('subscription_identifier')
      properties.subscriptionIdentifier = toPositive(cursor.variableInteger())
      return false
    default:
      decodeConnectionProperty(cursor, id, properties)
      return false
  }
}

/** Properties of CONNECT, of the will alone, and of DISCONNECT and acknowledgements. */
function decodeConnectionProperty (cursor: Cursor, id: number, properties: Properties): void {
  switch (id) {
    case PROPERTY.sessionExpiryInterval:
      properties.sessionExpiryS = toExpiry(cursor.uint32())
      break
    case PROPERTY.receiveMaximum:
      properties.receiveMaximum = toPositive(cursor.uint16())
      break
    case PROPERTY.maximumPacketSize:
      properties.maximumPacketSize = toPositive(cursor.uint32())
      break
    case PROPERTY.topicAliasMaximum:
      properties.topicAliasMaximum = cursor.uint16()
      break
    case PROPERTY.requestResponseInformation:
      properties.requestResponseInformation = toFlag(cursor)
      break
    case PROPERTY.requestProblemInformation:
      properties.requestProblemInformation = toFlag(cursor)
      break
    case PROPERTY.authenticationMethod:
      properties.authenticationMethod = cursor.text()
      break
    case PROPERTY.authenticationData:
      cursor.field()
      properties.hasAuthenticationData = true
      break
    case PROPERTY.willDelayInterval:
      properties.willDelayS = cursor.uint32()
      break
    default:
      // Reason String, and the Server Reference of a DISCONNECT: for a person, and nothing here uses them.
      cursor.skipText()
  }
}

function toFlag (cursor: Cursor): boolean {
  const value = cursor.byte()
  if (value > 1) throw new PacketError('property_value')
  return value === 1
}

function toPositive (value: number): number {
  if (value === 0) throw new PacketError('property_value')
  return value
}

function toExpiry (seconds: number): number {
  return seconds === NEVER_EXPIRES ? Infinity : seconds
}

/** 0 is answered with 0x94 like an alias above the maximum: both are aliases that the server does not have. */
function toTopicAlias (cursor: Cursor): number {
  const alias = cursor.uint16()
  if (alias === 0) throw new PacketError('topic_alias')
  return alias
}

function skipTopic (cursor: Cursor): void {
  const start = cursor.field()
  const wrong = checkTopic(cursor.bytes, start, cursor.at)
  if (wrong !== null) throw new PacketError(wrong)
}
