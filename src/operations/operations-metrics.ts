import type { Removed } from '../../db/retention.ts'
import type { Clock } from '../clock.ts'
import type { Metrics } from '../metrics/metrics.ts'

interface OperationsStatistics {
  readonly clock: Pick<Clock, 'differenceS'>
  /** Rows and partitions that retention removed since the start. */
  readonly removed: Removed
}

export function addOperationsMetrics (metrics: Metrics, read: () => OperationsStatistics): void {
  metrics.gauge('vital_clock_difference_seconds',
    'PostgreSQL\'s clock less the gateway\'s; the later of both counts', () => read().clock.differenceS())
  metrics.counter('vital_retention_removed_readings_total',
    'Readings that retention removed, estimated for large partitions', () => read().removed.rows)
  metrics.counter('vital_retention_dropped_partitions_total', 'Partitions that retention dropped',
    () => read().removed.partitions)
}
