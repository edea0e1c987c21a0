import type { Backlog } from '../../db/rollups/backlog.ts'
import type { Metrics } from '../metrics/metrics.ts'
import type { RollupCounts } from './rollup-worker.ts'

interface RollupStatistics {
  readonly backlog: Backlog
  readonly counts: RollupCounts
}

export function addRollupMetrics (metrics: Metrics, read: () => RollupStatistics): void {
  metrics.gauge('vital_rollup_lag_seconds', 'From the end of the newest closed bucket of averages to now',
    () => read().backlog.lagS)
  metrics.gauge('vital_rollup_marks', 'Marks of late buckets that wait to be computed anew; 100000 stands for more',
    () => read().backlog.marks)
  metrics.gauge('vital_rollup_unbuilt', '1 while readings from before there were roll-ups wait to be rolled up',
    () => read().backlog.isUnbuilt ? 1 : 0)
  metrics.counter('vital_rollup_late_buckets_total', 'Buckets of five minutes that this gateway computed anew',
    () => read().counts.lateBuckets)
  metrics.counter('vital_rollup_sealed_total',
    'Late buckets that stayed as they were, because retention had removed their readings', () => read().counts.sealedMarks)
  metrics.counter('vital_rollup_busy_seconds_total', 'Time in which this gateway computed roll-ups',
    () => read().counts.busyMs / 1000)
}
