import type { ClusterStatistics } from '../../broker/cluster/create-cluster.ts'
import type { Metrics } from '../metrics/metrics.ts'

/** Metrics of the other gateways; only where there is a `REDIS_URL`. */
export function addClusterMetrics (metrics: Metrics, read: () => ClusterStatistics): void {
  metrics.gauge('vital_redis_up', 'Whether Redis answers, and this gateway has joined the others', () => read().isUp ? 1 : 0)
  metrics.gauge('vital_cluster_gateways', 'Live gateways, this one included', () => read().gateways)
  metrics.gauge('vital_cluster_outbox_bytes', 'Bytes for other gateways that Redis has not taken', () => read().outboxBytes)
  metrics.gauge('vital_cluster_unclaimed_clients', 'Clients that are served without Redis knowing', () => read().unclaimed)
  metrics.counter('vital_cluster_messages_sent_total', 'Messages written for subscribers of other gateways', () => read().sent)
  metrics.counter('vital_cluster_messages_received_total', 'Messages of other gateways', () => read().received)
  metrics.counter('vital_cluster_messages_dropped_total', 'Messages for other gateways that Redis did not take', () => read().dropped)
  metrics.counter('vital_cluster_entries_missed_total',
    'Entries of other gateways, of one or more messages, that did not come', () => read().missed)
  metrics.counters('vital_cluster_sessions_total', 'Sessions that came from another gateway or from Redis, or went to another', ['how'],
    () => {
      const { sessionsFetched, sessionsGiven, sessionsAdopted } = read()
      return [[{ how: 'fetched' }, sessionsFetched], [{ how: 'given' }, sessionsGiven], [{ how: 'adopted' }, sessionsAdopted]]
    })
  metrics.counter('vital_cluster_wills_published_total', 'Wills of clients of dead gateways that this one has published',
    () => read().willsPublished)
  metrics.counter('vital_redis_timeouts_total', 'Commands that Redis did not answer in time', () => read().timeouts)
}
