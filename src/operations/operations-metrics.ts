import type { Metrics } from '../metrics/metrics.ts'

/** Of the gateway as a whole, and of what repeats beside the traffic. */
export interface OperationsStatistics {
  /** Unix milliseconds from which everything is counted. */
  readonly startedAtMs: number
  /** How many warnings readiness lists. */
  readonly warnings: number
  /** PostgreSQL's clock less the gateway's. */
  readonly clockDifferenceS: number
  readonly retention: { readonly readings: number, readonly partitions: number }
}

export function addOperationsMetrics (metrics: Metrics, read: () => OperationsStatistics): void {
  metrics.gauge('vital_start_time_seconds', 'Unix time from which everything here is counted',
    () => read().startedAtMs / 1000)
  metrics.gauge('vital_warnings', 'Warnings that /health/ready lists', () => read().warnings)
  metrics.gauge('vital_clock_difference_seconds',
    'PostgreSQL\'s clock less the gateway\'s; the later of both counts', () => read().clockDifferenceS)
  metrics.counter('vital_retention_removed_readings_total',
    'Readings that retention removed, estimated for large partitions', () => read().retention.readings)
  metrics.counter('vital_retention_dropped_partitions_total', 'Partitions that retention dropped',
    () => read().retention.partitions)
}
