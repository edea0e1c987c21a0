import { type Encoded, type Message, ownCopy, type QoS } from '../session/delivery.ts'
import { isFannedOut } from '../topics.ts'
import type { LiveFilters } from './live-filters.ts'
import type { WritableGuard } from './writable.ts'

interface PublishedPacket extends Message {
  readonly qos: QoS
}

/**
 * Stands in for Aedes' mqemitter: every message that is published comes through `emit`, and goes from here to the
 * sessions that subscribe to its topic, in the same turn. Aedes' own listeners are not called: they serve the other
 * brokers of a cluster, and those of its clients know one filter each, where a session gets one delivery at the highest
 * QoS.
 *
 * `emit` calls back at once, and not when every subscriber's socket has taken the packet: otherwise one frozen
 * subscriber stops the reading of publishers and every PUBREC until it is closed.
 */
export function createEmitter (filters: LiveFilters, writable: Pick<WritableGuard, 'admits'>) {
  function route (packet: PublishedPacket): void {
    const { topic, payload, qos: publishedQoS } = packet
    const sessions = filters.matching(topic)
    if (sessions === null || !writable.admits(packet, sessions.size)) return
    const encoded: Encoded = { mqtt3: null }
    let message: Message | null = null
    for (const [session, grantedQoS] of sessions) {
      // [MQTT-3.8.4-6]
      const qos = publishedQoS < grantedQoS ? publishedQoS : grantedQoS
      if (qos === 0) session.pass(packet, encoded)
      else session.deliver(message ??= { topic, payload: ownCopy(payload) }, qos)
    }
  }

  return {
    on (_topic: string, _listener: unknown, done?: () => void): void {
      done?.()
    },
    // In the same turn: Aedes removes a subscription only then, and would take a SUBSCRIBE right behind the UNSUBSCRIBE
    // for one that exists.
    removeListener (_topic: string, _listener: unknown, done?: () => void): void {
      done?.()
    },
    emit (packet: PublishedPacket, done?: () => void): void {
      if (isFannedOut(packet.topic)) route(packet)
      done?.()
    },
    close (done?: () => void): void {
      done?.()
    }
  }
}
