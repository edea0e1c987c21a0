import type { Metrics } from '../metrics/metrics.ts'

/** Of the gRPC server; a gateway without one has none of these metrics. */
export interface GrpcStatistics {
  readonly connections: number
  readonly streams: number
  readonly callsRefused: number
  readonly callsLimited: number
}

export function addGrpcMetrics (metrics: Metrics, read: () => GrpcStatistics): void {
  metrics.gauge('vital_grpc_connections', 'Open gRPC connections', () => read().connections)
  metrics.gauge('vital_grpc_streams', 'Open Publish streams', () => read().streams)
  metrics.counter('vital_grpc_calls_refused_total', 'gRPC calls refused because too many were under way',
    () => read().callsRefused)
  metrics.counter('vital_grpc_calls_limited_total', 'gRPC calls refused for their rate', () => read().callsLimited)
}
