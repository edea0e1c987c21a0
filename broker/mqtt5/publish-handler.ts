import type { PublishPacket } from 'aedes'
import type { Remote } from '../cluster.ts'
import type { Connection } from '../connection.ts'
import type { FanOut } from '../deliver/fan-out.ts'
import { RELEASED_PAYLOAD } from '../publish/acknowledgement-queue.ts'
import type { createAuthorizePublish } from '../publish/authorize-publish.ts'
import { type PublishCallback, toMessage } from '../publish/hold-until-durable.ts'
import type { PubackWriter } from '../publish/puback-writer.ts'
import { type PublishPacket5, toAnyPublish } from '../publish/published-packet.ts'
import type { MessageProperties } from '../session/delivery.ts'
import type { RetainedMessages } from '../session/retained.ts'
import type { Sessions } from '../session/sessions.ts'
import { deviceOf, isIngested } from '../topics.ts'
import { PUBACK, PUBREC } from '../wire/fixed-header.ts'
import { decodePublish, PayloadFormatError, type Publish5, toTopicName } from '../wire/v5/decode.ts'
import { encodeAck5 } from '../wire/v5/encode.ts'
import { PacketError } from '../wire/v5/packet-error.ts'
import { REASONS5 } from '../wire/v5/reason-codes.ts'
import type { LastTopic, Mqtt5Client } from './mqtt5-client.ts'
import { type Answer, toAnswer } from './publish-answers.ts'

/** A client that goes on publishing on topics that are not its own is closed. */
const FORBIDDEN_MAX = 10

interface PublishHandlerOptions {
  readonly publishes: Pick<ReturnType<typeof createAuthorizePublish>, 'accept' | 'submit' | 'refuse'>
  readonly pubacks: PubackWriter
  readonly fanOut: FanOut
  /** Whether a subscription may match `vital/{device}`; true may be wrong, false must not be. */
  readonly isWatched: (topic: string) => boolean
  /** `null`: this gateway stands alone. */
  readonly cluster: Remote | null
  readonly sessions: Sessions
  readonly retained: RetainedMessages
  /** Publishes of QoS 2 that a client may leave without PUBREL. */
  readonly receiveMaximum: number
}

const clientOf = (connection: Connection) => connection.client as Mqtt5Client

/** Handles each PUBLISH of an MQTT 5 client, and answers it. */
export function createPublishHandler (options: PublishHandlerOptions) {
  const { publishes, pubacks, fanOut, isWatched, cluster, sessions, retained, receiveMaximum } = options

  /** Acknowledgements of a client leave in the order of its publishes [MQTT-4.6.0-2]. */
  function answer (connection: Connection, type: typeof PUBACK | typeof PUBREC, packetId: number, { code, text }: Answer): void {
    const client = clientOf(connection)
    const reasonString = client.toReasonString(text)
    if (type === PUBACK && code === REASONS5.success && reasonString === null) {
      pubacks.add(connection, packetId)
      return
    }
    pubacks.flush(connection)
    client.write(encodeAck5(type, packetId, code, reasonString, client.maximumPacketSize))
  }

  /** Fans out in the next turn, as for other clients, and before the rejections of this publish. */
  function pass (packet: PublishPacket): void {
    if (packet.payload !== RELEASED_PAYLOAD) setImmediate(fanOut, toMessage(packet))
  }

  function noteForbidden (connection: Connection): void {
    if (++clientOf(connection).forbidden > FORBIDDEN_MAX) connection.destroy('not_allowed')
  }

  /** A message outside `vital/` that is to be retained beyond the limit is refused; a reading never is. */
  const isOverQuota = (packet: PublishPacket) => packet.retain && !isIngested(packet.topic) && !retained.admits(packet)

  const acknowledge: PublishCallback = (_error, packet, connection, outcome) => {
    const told = toAnswer(outcome === 'relayed' && isOverQuota(packet) ? 'quota' : outcome)
    answer(connection, PUBACK, packet.messageId as number, told)
    if (told.code < REASONS5.unspecifiedError) pass(packet)
    if (outcome === 'not_allowed') noteForbidden(connection)
  }

  const receive: PublishCallback = (_error, packet, connection, outcome) => {
    const client = clientOf(connection)
    const packetId = packet.messageId as number
    client.qos2Held--
    const isKnown = sessions.hasInbound(client.id, packetId)
    const told = toAnswer(outcome === 'relayed' && !isKnown && isOverQuota(packet) ? 'quota' : outcome)
    const isAccepted = told.code < REASONS5.unspecifiedError
    if (isAccepted && !isKnown && !sessions.addInbound(client.id, packetId)) {
      client.noteCloseCode(REASONS5.quotaExceeded)
      connection.destroy('limit')
      return
    }
    const isPassed = isAccepted && !isKnown
    if (isPassed && cluster !== null && packet.payload !== RELEASED_PAYLOAD) fanOut(toMessage(packet))
    // Not `null` while an earlier one waits, so that PUBRECs keep their order [MQTT-4.6.0-3].
    const copied = cluster?.whenCopied() ?? null
    if (copied === null) answer(connection, PUBREC, packetId, told)
    else copied.then(() => { answer(connection, PUBREC, packetId, told) }, () => { connection.closeUnacknowledged('failed') })
    if (isPassed && cluster === null) pass(packet)
    if (outcome === 'not_allowed') noteForbidden(connection)
  }

  const passUnacknowledged: PublishCallback = (error, packet, connection, outcome) => {
    if (error === null && (outcome === 'relayed' || typeof outcome !== 'string')) pass(packet)
    if (outcome === 'not_allowed' && !connection.client.closed) noteForbidden(connection)
  }

  function publish (connection: Connection, firstByte: number, bytes: Buffer, start: number, end: number): void {
    const client = clientOf(connection)
    const { publish, isText } = decode(firstByte, bytes, start, end)
    const { qos, packetId, isRetained, messageExpiryS, forwarded } = publish
    const { topic, device: namedDevice } = readTopic(client, publish, bytes)
    const packet5: PublishPacket5 = {
      cmd: 'publish',
      topic,
      payload: bytes.subarray(publish.payloadStart, end),
      qos,
      dup: false,
      retain: isRetained,
      messageId: packetId,
      clientId: client.id,
      properties: forwarded === null && messageExpiryS === null ? null : toProperties(forwarded, messageExpiryS)
    }
    const packet = toAnyPublish(packet5)
    if (qos === 2) return publishQos2(connection, packet, isText)
    const callback = qos === 0 ? passUnacknowledged : acknowledge
    if (!isText && !isIngested(topic)) return publishes.refuse(connection, packet, callback, false, 'payload_format')
    if (qos === 0) return publishes.submit(connection, packet, callback, false)
    const device = isRetained ? null : namedDevice
    if (device === null) return publishes.submit(connection, packet, acknowledge, false)
    publishes.accept(connection, packet, device, acknowledge)
    if (isWatched(topic)) return
    packet5.payload = RELEASED_PAYLOAD
    packet5.properties = null
  }

  function publishQos2 (connection: Connection, packet: PublishPacket, isText: boolean): void {
    const client = clientOf(connection)
    const isKnown = sessions.hasInbound(client.id, packet.messageId as number)
    if (!isKnown && sessions.inboundOf(client.id) + client.qos2Held >= receiveMaximum) throw new PacketError('receive_maximum')
    client.qos2Held++
    if (!isText && !isIngested(packet.topic)) publishes.refuse(connection, packet, receive, false, 'payload_format')
    else publishes.submit(connection, packet, receive, false)
  }

  return {
    /** @throws PacketError for a packet that breaks a rule */
    publish,
    /** Passes a will on, or another message without an acknowledgement. */
    passUnacknowledged
  }
}

/** A payload that is not the text it promises is decoded all the same: below `vital/` it becomes a dead letter. */
function decode (firstByte: number, bytes: Buffer, start: number, end: number): { publish: Publish5, isText: boolean } {
  try {
    return { publish: decodePublish(firstByte, bytes, start, end), isText: true }
  } catch (error) {
    if (error instanceof PayloadFormatError) return { publish: error.publish, isText: false }
    throw error
  }
}

/** @returns the properties of a message that was published now */
export function toProperties (forwarded: Buffer | null, messageExpiryS: number | null): MessageProperties {
  return { forwarded, expiresAtMs: messageExpiryS === null ? Infinity : performance.now() + messageExpiryS * 1000 }
}

/**
 * Reads the topic of a publish. Most clients publish on one topic, so the last one of each is kept as it was encoded.
 * @throws PacketError for a topic or an alias that is not allowed
 */
function readTopic (client: Mqtt5Client, { topicStart, topicEnd, topicAlias }: Publish5, bytes: Buffer): LastTopic {
  if (topicStart === topicEnd && topicAlias !== null) {
    const topic = client.aliases.resolve(topicAlias)
    return { encoded: '', topic, device: deviceOf(topic) }
  }
  const encoded = bytes.toString('latin1', topicStart, topicEnd)
  if (client.lastTopic?.encoded !== encoded) {
    const topic = toTopicName(bytes, topicStart, topicEnd)
    client.lastTopic = { encoded, topic, device: deviceOf(topic) }
  }
  if (topicAlias !== null) client.aliases.note(topicAlias, client.lastTopic.topic)
  return client.lastTopic
}
