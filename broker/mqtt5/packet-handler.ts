import type { Remote } from '../cluster.ts'
import type { Connection } from '../connection.ts'
import type { SubscriptionGuard } from '../deliver/subscription-guard.ts'
import type { Sessions } from '../session/sessions.ts'
import { isQueue, isShared } from '../topics.ts'
import {
  DISCONNECT, PINGREQ, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBSCRIBE, typeOf, UNSUBSCRIBE
} from '../wire/fixed-header.ts'
import {
  checkPingreq5, decodeAck, decodeDisconnect, decodeSubscribe, decodeUnsubscribe, type Subscription5
} from '../wire/v5/decode.ts'
import { encodeAck5, encodeSuback5, encodeUnsuback5, PINGRESP } from '../wire/v5/encode.ts'
import { PacketError } from '../wire/v5/packet-error.ts'
import { REASONS5 } from '../wire/v5/reason-codes.ts'
import type { Mqtt5Client } from './mqtt5-client.ts'
import type { createPublishHandler } from './publish-handler.ts'

interface PacketHandlerOptions {
  readonly publish: ReturnType<typeof createPublishHandler>['publish']
  readonly sessions: Sessions
  readonly subscriptionGuard: SubscriptionGuard
  readonly cluster: Remote | null
}

const clientOf = (connection: Connection) => connection.client as Mqtt5Client

/** Handles each packet of an MQTT 5 client after its CONNECT. */
export function createPacketHandler ({ publish, sessions, subscriptionGuard, cluster }: PacketHandlerOptions) {
  /** Takes acknowledgements of deliveries, and PUBREL of the client's own publishes. */
  function acknowledged (connection: Connection, type: number, body: Buffer): void {
    const client = clientOf(connection)
    const { session } = connection.subscriber
    const { packetId, reasonCode } = decodeAck(type, body)
    if (type === PUBACK) session?.acknowledge(packetId)
    else if (type === PUBCOMP) session?.complete(packetId)
    else if (type === PUBREL) {
      const code = sessions.removeInbound(client.id, packetId) ? REASONS5.success : REASONS5.packetIdentifierNotFound
      writeOnceCopied(connection, encodeAck5(PUBCOMP, packetId, code, null, client.maximumPacketSize))
    } else if (reasonCode >= REASONS5.unspecifiedError) session?.complete(packetId)
    else {
      const isInFlight = session?.receive(packetId) === true
      const code = isInFlight ? REASONS5.success : REASONS5.packetIdentifierNotFound
      writeOnceCopied(connection, encodeAck5(PUBREL, packetId, code, null, client.maximumPacketSize))
    }
  }

  /** Writes once Redis has the state: a gateway that takes the session over must not ask for the same step again. */
  function writeOnceCopied (connection: Connection, packet: Buffer): void {
    const client = clientOf(connection)
    const copied = cluster?.whenCopied() ?? null
    if (copied === null) client.write(packet)
    else copied.then(() => { client.write(packet) }, () => { connection.closeUnacknowledged('failed') })
  }

  function subscribe (connection: Connection, body: Buffer): void {
    const client = clientOf(connection)
    const { packetId, subscriptionIdentifier, subscriptions } = decodeSubscribe(body)
    const identifiers = subscriptionIdentifier === null ? [] : [subscriptionIdentifier]
    const isKnown = (filter: string) => connection.subscriber.session?.filters.has(filter) === true
    const codes: number[] = []
    const sendsRetained: Subscription5[] = []
    for (const subscription of subscriptions) {
      const { filter, qos, noLocal, retainAsPublished, retainHandling } = subscription
      if (isQueue(filter)) {
        codes.push(REASONS5.topicFilterInvalid)
        continue
      }
      const isNew = !isKnown(filter)
      const refusal = subscriptionGuard.subscribe(connection, filter, { qos, noLocal, retainAsPublished, identifiers })
      codes.push(refusal === null ? qos : refusal === 'not_allowed' ? REASONS5.notAuthorized : REASONS5.quotaExceeded)
      const isSent = retainHandling === 0 || (retainHandling === 1 && isNew)
      if (refusal === null && isSent && !isShared(filter)) sendsRetained.push(subscription)
    }
    const finish = () => {
      client.write(encodeSuback5(packetId, codes))
      for (const { filter, qos } of sendsRetained) connection.subscriber.session?.sendRetained(filter, { qos, identifiers })
    }
    const known = cluster?.whenKnown() ?? null
    if (known === null) finish()
    else known.then(finish, () => { connection.closeUnacknowledged('failed') })
  }

  function unsubscribe (connection: Connection, body: Buffer): void {
    const { packetId, filters } = decodeUnsubscribe(body)
    const codes = filters.map((filter) => subscriptionGuard.unsubscribe(connection, filter)
      ? REASONS5.success
      : REASONS5.noSubscriptionExisted)
    clientOf(connection).write(encodeUnsuback5(packetId, codes))
  }

  function disconnect (connection: Connection, body: Buffer): void {
    const client = clientOf(connection)
    const { reasonCode, sessionExpiryS } = decodeDisconnect(body)
    // A session that was to end with its connection cannot be kept [MQTT-3.1.2-23].
    if (sessionExpiryS !== null && sessionExpiryS > 0 && client.sessionExpiryMs === 0) throw new PacketError('session_expiry')
    client.disconnect(reasonCode, sessionExpiryS)
    connection.gate.close()
    // Publishes that wait are stored and fanned out; their client has left.
    client.end('disconnected', null)
  }

  return {
    /** @throws PacketError for a packet that breaks a rule */
    handle (connection: Connection, firstByte: number, bytes: Buffer, start: number, end: number): void {
      const type = typeOf(firstByte)
      if (type === PUBLISH) return publish(connection, firstByte, bytes, start, end)
      const body = bytes.subarray(start, end)
      switch (type) {
        case PUBACK:
        case PUBREC:
        case PUBREL:
        case PUBCOMP: return acknowledged(connection, type, body)
        case SUBSCRIBE: return subscribe(connection, body)
        case UNSUBSCRIBE: return unsubscribe(connection, body)
        case DISCONNECT: return disconnect(connection, body)
        case PINGREQ:
          checkPingreq5(body.length)
          return clientOf(connection).write(PINGRESP)
        // A second CONNECT [MQTT-3.1.0-2], and AUTH without a method in CONNECT [MQTT-4.12.0-7].
        default: throw new PacketError(type === 1 ? 'connect_again' : 'authentication_missing')
      }
    }
  }
}
