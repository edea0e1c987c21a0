import type { Metrics } from '../../metrics/metrics.ts'

interface CacheStatistics {
  readonly isUp: boolean
  readonly isTrusted: boolean
  readonly devices: number
  readonly dirty: number
  readonly pages: number
  readonly late: number
  readonly repaired: number
}

/** Seconds of one page: from a round trip to Redis on one machine to far too long. */
const PAGE_BUCKETS_S = [0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1]

/** Only with `VITAL_LATEST_CACHE=redis`. @returns takes the seconds of a page */
export function addLatestCacheMetrics (metrics: Metrics, read: () => CacheStatistics): (seconds: number) => void {
  metrics.gauge('vital_latest_cache_up', '1 while Redis answers, for the copy of the latest states', () => read().isUp ? 1 : 0)
  metrics.gauge('vital_latest_cache_trusted', '1 while pages come from Redis; at 0 PostgreSQL answers', () => read().isTrusted ? 1 : 0)
  metrics.gauge('vital_latest_cache_devices', 'Devices in Redis', () => read().devices)
  metrics.gauge('vital_latest_cache_dirty', 'Devices and batches that may differ in Redis; they are read again', () => read().dirty)
  metrics.counter('vital_latest_cache_pages_total', 'Pages that came from Redis', () => read().pages)
  metrics.counter('vital_latest_cache_late_total', 'Times that a batch went on because Redis took too long', () => read().late)
  metrics.counter('vital_latest_cache_repaired_total', 'Devices that were read again for Redis', () => read().repaired)
  return metrics.histogram('vital_latest_cache_page_seconds', 'Seconds until Redis has answered a page', PAGE_BUCKETS_S)
}
