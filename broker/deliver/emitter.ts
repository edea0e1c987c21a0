import { type Encoded, type Message, ownCopy, ownProperties, type Subscription } from '../session/delivery.ts'
import type { Session } from '../session/session.ts'
import { isFannedOut, toSharedFilter } from '../topics.ts'
import type { Remote } from '../cluster.ts'
import type { PublishedMessage } from './fan-out.ts'
import { isOwn, type LiveFilters, toRecipients } from './live-filters.ts'
import type { WritableGuard } from './writable.ts'

/** One message on its way to its subscribers. */
interface Routed {
  readonly packet: PublishedMessage
  /** As it is in the publisher's chunk. */
  readonly passing: Message
  /** A copy for queues, made when the first session needs it. */
  kept: Message | null
  readonly encoded: Encoded
}

/**
 * Stands in for Aedes' mqemitter: every message that is published comes through `emit`, and goes from here to the
 * sessions that subscribe to its topic, in the same turn. Aedes' own listeners are not called. Those of the broker
 * serve a cluster of Aedes. Those of a client know one filter each, while a session gets one delivery at the highest
 * QoS of all its filters.
 *
 * `emit` calls back at once, and not when every subscriber's socket has taken the packet: otherwise one frozen
 * subscriber stops the reading of publishers and every PUBREC until it is closed. With other gateways it calls back at
 * QoS 2 once Redis has the message: PUBREC follows.
 */
export function createEmitter (filters: LiveFilters, writable: Pick<WritableGuard, 'admits'>, remote: Remote | null) {
  function route (packet: PublishedMessage): void {
    const { topic, payload, clientId, properties = null } = packet
    const found = filters.matching(topic)
    if (found.length === 0) return
    const recipients = toRecipients(found, clientId)
    if (!writable.admits(packet, recipients.size)) return
    const routed: Routed = { packet, passing: { topic, payload, properties }, kept: null, encoded: { mqtt3: null, mqtt5: null } }
    for (const [session, subscription] of recipients) {
      if (!isOwn(session, subscription, clientId)) deliver(routed, session, subscription)
    }
    for (const { groups, filter } of found) {
      for (const [name, group] of groups ?? []) {
        if (remote?.servesShare(toSharedFilter({ name, filter })) === false) continue
        const member = group.next()
        if (member !== null) deliver(routed, ...member)
      }
    }
  }

  return {
    /** SUBACK follows `done`. */
    on (_topic: string, _listener: unknown, done?: (error?: unknown) => void): void {
      const known = remote?.whenKnown() ?? null
      if (known === null) done?.()
      else known.then(() => { done?.() }, (error: unknown) => { done?.(error) })
    },
    // In the same turn: Aedes removes a subscription only then, and would take a SUBSCRIBE right behind the UNSUBSCRIBE
    // for one that exists.
    removeListener (_topic: string, _listener: unknown, done?: () => void): void {
      done?.()
    },
    emit (packet: PublishedMessage, done?: (error?: unknown) => void): void {
      if (isFannedOut(packet.topic)) {
        remote?.forward(packet)
        route(packet)
      }
      const copied = packet.qos === 2 ? remote?.whenCopied() ?? null : null
      if (copied === null) done?.()
      else copied.then(() => { done?.() }, (error: unknown) => { done?.(error) })
    },
    /** Delivers a message of another gateway. */
    route,
    close (done?: () => void): void {
      done?.()
    }
  }
}

function deliver (routed: Routed, session: Session, subscription: Subscription): void {
  const { packet, passing, encoded } = routed
  const { identifiers } = subscription
  // [MQTT-3.8.4-8]
  const qos = packet.qos < subscription.qos ? packet.qos : subscription.qos
  // [MQTT-3.3.1-12] [MQTT-3.3.1-13]
  const isRetained = packet.retain && subscription.retainAsPublished
  if (qos === 0) {
    session.pass(passing, { isRetained, identifiers }, encoded)
    return
  }
  const { topic, payload, properties } = passing
  routed.kept ??= { topic, payload: ownCopy(payload), properties: ownProperties(properties) }
  session.deliver(routed.kept, qos, { isRetained, identifiers })
}
