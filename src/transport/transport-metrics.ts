import type { Metrics } from '../metrics/metrics.ts'

/** Counters of the listeners of HTTP and of WebSockets, and the certificate of all listeners. */
export interface TransportStatistics {
  readonly requestsLimited: number
  readonly webSocketsRefused: number
  /** Unix milliseconds; `null`: without a certificate. */
  readonly certificateExpiresAtMs: number | null
}

export function addTransportMetrics (metrics: Metrics, read: () => TransportStatistics): void {
  metrics.counter('vital_http_requests_limited_total', 'HTTP requests answered 429 for their rate',
    () => read().requestsLimited)
  metrics.counter('vital_websockets_refused_total', 'Upgrades to MQTT over WebSocket that were refused',
    () => read().webSocketsRefused)
  metrics.gauge('vital_tls_certificate_expiry_timestamp_seconds',
    'Unix time at which the certificate expires; 0 without one', () => (read().certificateExpiresAtMs ?? 0) / 1000)
}
