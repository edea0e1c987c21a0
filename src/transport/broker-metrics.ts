import type { BrokerStatistics } from '../../broker/statistics.ts'
import type { Metrics } from '../metrics/metrics.ts'

type Name = {
  [Key in keyof BrokerStatistics]: BrokerStatistics[Key] extends number ? Key : never
}[keyof BrokerStatistics]

const COUNTERS: ReadonlyArray<readonly [statistic: Name, name: string, help: string]> = [
  ['loginsFailed', 'vital_mqtt_logins_refused_total', 'MQTT connections refused with return code 5'],
  ['takeovers', 'vital_mqtt_takeovers_total', 'MQTT connections closed because their client id connected again'],
  ['publishesForbidden', 'vital_mqtt_publishes_forbidden_total',
    'MQTT connections closed for publishing on a topic that is not theirs'],
  ['publishesRelayed', 'vital_mqtt_publishes_relayed_total',
    'MQTT publishes outside vital/: relayed to subscribers, stored nowhere'],
  ['malformedPackets', 'vital_mqtt_malformed_packets_total',
    'MQTT connections closed for a packet that MQTT does not allow'],
  ['packetsReceived', 'vital_mqtt_packets_received_total', 'MQTT packets received'],
  ['publishesReceived', 'vital_mqtt_publishes_received_total', 'MQTT PUBLISH packets received'],
  ['deliveriesDropped', 'vital_mqtt_deliveries_dropped_total',
    'Deliveries dropped because the subscriber did not read'],
  ['deliveriesUnwritable', 'vital_mqtt_deliveries_unwritable_total',
    'Deliveries dropped because their message cannot be encoded'],
  ['retainedRefused', 'vital_mqtt_retained_refused_total', 'Retained messages not retained, because the set is full'],
  ['handshakesFailed', 'vital_tls_handshakes_failed_total', 'TLS handshakes with MQTT clients that failed'],
  ['handshakesRefused', 'vital_tls_handshakes_refused_total',
    'TLS handshakes not begun, because too many were under way'],
  ['proxyHeadersRefused', 'vital_proxy_headers_refused_total',
    'Connections of trusted proxies closed because they sent no PROXY header']
]

const GAUGES: ReadonlyArray<readonly [statistic: Name, name: string, help: string]> = [
  ['clientsConnected', 'vital_mqtt_clients', 'Connected MQTT clients'],
  ['connections', 'vital_mqtt_connections', 'Open MQTT connections, those that wait for their turn included'],
  ['loginsHeld', 'vital_mqtt_logins_held',
    'MQTT connections that wait because their credentials cannot be verified now'],
  ['sessions', 'vital_mqtt_sessions', 'Persistent sessions that hold subscriptions'],
  ['subscriptions', 'vital_mqtt_subscriptions', 'Subscriptions of connected clients'],
  ['sharedSubscriptions', 'vital_mqtt_shared_subscriptions', 'Shared subscriptions, by share name and filter'],
  ['delayedWills', 'vital_mqtt_delayed_wills', 'Wills of MQTT 5 clients that wait for their delay'],
  ['topicAliases', 'vital_mqtt_topic_aliases', 'Topic aliases of MQTT 5 connections'],
  ['queuedMessages', 'vital_mqtt_queued_messages', 'Messages queued for sessions'],
  ['queuedBytes', 'vital_mqtt_queued_bytes', 'Their bytes'],
  ['retainedMessages', 'vital_mqtt_retained_messages', 'Retained messages'],
  ['retainedBytes', 'vital_mqtt_retained_bytes', 'Their bytes']
]

/** Metrics of the MQTT broker, which itself knows no metrics: it returns its statistics. */
export function addBrokerMetrics (metrics: Metrics, read: () => BrokerStatistics): void {
  for (const [statistic, name, help] of GAUGES) metrics.gauge(name, help, () => read()[statistic])
  for (const [statistic, name, help] of COUNTERS) metrics.counter(name, help, () => read()[statistic])
  metrics.counters('vital_mqtt_limit_hits_total', 'How often a limit was met; broker/README.md tells what each does',
    ['limit'], () => [...read().limitHits].map(([limit, count]) => [{ limit }, count] as const))
}
