import type { AedesPublishPacket, Client } from 'aedes'
import mqemitter, { type MQEmitter } from 'mqemitter'
import { maySubscribe } from './authorisation.ts'
import type { Connections } from './connections.ts'
import type { LimitHits } from './limit-hits.ts'
import type { BrokerLimits } from './limits.ts'
import { isFannedOut } from './topics.ts'
import type { Watchers } from './watchers.ts'

/**
 * The emitter that carries packets to subscribers. It answers a publisher at once instead of when every subscriber's
 * socket has taken the packet: otherwise one frozen subscriber holds the publishers' reading and every PUBREC until it
 * is closed. How much may wait for a subscriber is bounded by {@link createForwardGuard} instead.
 */
export function createEmitter (watchers: Watchers): MQEmitter {
  const emitter = mqemitter({ concurrency: 0, matchEmptyLevels: true })
  const emit = emitter.emit.bind(emitter)
  const on = emitter.on.bind(emitter)
  emitter.on = (topic, listener, done) => {
    watchers.add(topic, listener)
    return on(topic, listener, done)
  }
  // Not in the next turn, as mqemitter does: Aedes forgets a subscription only then, and would take a SUBSCRIBE right behind
  // the UNSUBSCRIBE for one that is there already.
  const { _matcher: matcher } = emitter as unknown as { _matcher: { remove (topic: string, listener: unknown): void } }
  emitter.removeListener = (topic, listener, done) => {
    watchers.remove(topic, listener)
    matcher.remove(topic, listener)
    done?.()
  }
  emitter.emit = (message, done) => {
    if (isFannedOut(message.topic)) emit(message)
    done?.()
    return emitter
  }
  return emitter
}

/**
 * Aedes' `authorizeForward`: the last look at a packet before it is written to one subscriber.
 * Drops it for a subscriber that does not read, and keeps to the QoS granted [MQTT-3.8.4-6], which Aedes exceeds for
 * filters with wildcards.
 */
export function createForwardGuard ({ connections, hits, limits }: {
  connections: Connections
  hits: LimitHits
  limits: Pick<BrokerLimits, 'subscriberBufferBytesMax'>
}) {
  const state = { dropped: 0 }
  return {
    authorizeForward (client: Client, packet: AedesPublishPacket): AedesPublishPacket | null {
      const connection = connections.of(client)
      if (connection?.principal === undefined) return null
      // A packet id is there when a session's queue is sent again: it waits for the socket, and has the QoS it was granted.
      // It may have been queued when its principal had another role.
      if (packet.messageId !== undefined) return maySubscribe(connection.principal, packet.topic) ? packet : null
      if (connection.socket.writableLength > limits.subscriberBufferBytesMax) {
        state.dropped++
        hits.hit('subscriber_buffer')
        return null
      }
      if (packet.qos === 2 && connection.qosMax < 2) packet.qos = 1
      return packet
    },
    /** Deliveries dropped. */
    get dropped (): number {
      return state.dropped
    }
  }
}
