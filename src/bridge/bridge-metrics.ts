import type { Metrics, Series } from '../metrics/metrics.ts'
import type { Upstream } from './upstream.ts'

/** Metrics of the bridge's connection to the external broker. */
export function addBridgeMetrics (metrics: Metrics, read: () => ReturnType<Upstream['statistics']>): void {
  metrics.gauge('vital_bridge_subscribed', '1 while the external broker has the subscription of ' +
    'this bridge', () => read().isSubscribed ? 1 : 0)
  metrics.gauge('vital_bridge_reading', '0 while nothing is read from it: held messages must become durable first',
    () => read().isReading ? 1 : 0)
  metrics.counters('vital_bridge_messages_total', 'Messages that it sent; those of QoS 0 are not acknowledged', ['qos'],
    (): Array<Series<'qos'>> => [[{ qos: '0' }, read().qos0], [{ qos: '1' }, read().qos1]])
  metrics.counter('vital_bridge_redelivered_total', 'Messages among them that it had sent before', () => read().redelivered)
  metrics.counter('vital_bridge_acknowledged_total', 'Messages that were acknowledged to it, once they were durable',
    () => read().acknowledged)
  metrics.gauge('vital_bridge_held_messages', 'Messages that are not acknowledged yet', () => read().heldMessages)
  metrics.gauge('vital_bridge_held_bytes', 'Bytes of their payloads', () => read().heldBytes)
  metrics.counter('vital_bridge_subscriptions_total', 'How often it took the subscription', () => read().subscribed)
  metrics.counter('vital_bridge_sessions_lost_total', 'How often it had dropped the session of this bridge, and the messages in it',
    () => read().sessionsLost)
  metrics.counter('vital_bridge_expiring_total', 'Messages with a Message Expiry Interval, which it drops when they wait too long',
    () => read().expiring)
  metrics.counter('vital_bridge_cut_total', 'Messages larger than VITAL_PACKET_BYTES_MAX, whose first bytes are kept as a dead letter',
    () => read().cut)
}
