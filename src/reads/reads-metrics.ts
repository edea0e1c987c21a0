import type { Metrics } from '../metrics/metrics.ts'
import type { SortedPages } from './latest-order/sorted-pages.ts'
import type { ReadBudget } from './read-budget.ts'
import type { Replicas } from './replicas/replicas.ts'

const FALLBACKS = ['unreached', 'stale', 'failed'] as const

interface ReadsStatistics {
  readonly budget: Pick<ReadBudget, 'waiting' | 'bytes' | 'refused'>
  readonly pages: Pick<SortedPages, 'isTrusted' | 'devices' | 'silent'>
}

export function addReadsMetrics (metrics: Metrics, read: () => ReadsStatistics): void {
  metrics.gauge('vital_device_order_trusted',
    '1 while sorted pages are picked in memory; at 0 PostgreSQL sorts all devices for each',
    () => read().pages.isTrusted ? 1 : 0)
  metrics.gauge('vital_device_order_devices', 'Devices whose order is kept in memory', () => read().pages.devices)
  metrics.gauge('vital_devices_silent',
    'Devices without a reading of the last five minutes, counted about once a minute; NaN while the order is not trusted',
    () => read().pages.silent)
  metrics.gauge('vital_reads_waiting', 'Reads that wait for their turn', () => read().budget.waiting)
  metrics.gauge('vital_read_bytes', 'Bytes of answers that were read and that no client took yet',
    () => read().budget.bytes)
  metrics.counter('vital_reads_refused_total', 'Reads answered 503 because their turn did not come in time',
    () => read().budget.refused)
}

/** Only with `DATABASE_READ_URL`. */
export function addReplicaMetrics (metrics: Metrics, read: () => Pick<Replicas, 'counts' | 'ages'>): void {
  metrics.counter('vital_replica_reads_total', 'Queries that a replica answered', () => read().counts.replica)
  metrics.counters('vital_replica_fallbacks_total',
    'Queries that the primary answered, because no replica had reached their position in time (unreached), none was recent enough ' +
    '(stale), or one failed (failed)', ['reason'], () => FALLBACKS.map((reason) => [{ reason }, read().counts[reason]]))
  metrics.gauges('vital_replica_age_seconds', 'How old the answers of a replica may be; +Inf while nothing is read there', ['replica'],
    () => read().ages().map(({ name, ageMs }) => [{ replica: name }, ageMs / 1000]))
}
