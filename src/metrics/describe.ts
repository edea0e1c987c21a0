import { addBrokerMetrics } from '../transport/broker-metrics.ts'
import { addClusterMetrics } from '../transport/cluster-metrics.ts'
import { addBridgeMetrics } from '../bridge/bridge-metrics.ts'
import { addTransportMetrics } from '../transport/transport-metrics.ts'
import { addExportMetrics } from '../export/export-metrics.ts'
import { addEventsMetrics } from '../events/events-metrics.ts'
import { addGrpcMetrics } from '../grpc/grpc-metrics.ts'
import { addIngestMetrics } from '../ingest/ingest-metrics.ts'
import { addJournalMetrics } from '../ingest/journal/journal-metrics.ts'
import { addKafkaMetrics } from '../kafka/kafka-metrics.ts'
import { addOperationsMetrics } from '../operations/operations-metrics.ts'
import { addReadinessMetrics } from '../operations/readiness.ts'
import { addLatestCacheMetrics } from '../reads/latest-cache/cache-metrics.ts'
import { addReadsMetrics, addReplicaMetrics } from '../reads/reads-metrics.ts'
import { addRollupMetrics } from '../rollups/rollup-metrics.ts'
import { addSecurityMetrics } from '../security/security-metrics.ts'
import { addLakeMetrics } from '../lake/lake-metrics.ts'
import { addSinkMetrics } from '../sink/sink-metrics.ts'
import { createMetrics, type Metrics } from './metrics.ts'

/**
 * A registry with every metric of the gateway, without a gateway: for the reference table. Names, labels, help texts
 * and types can be read from it. A scrape of it throws, because it has no values. Metrics of the process are left out:
 * they are prom-client's.
 */
export function describeMetrics (): Metrics {
  const metrics = createMetrics()
  const unread = (): never => { throw new Error('this registry describes metrics and has no values') }
  addReadinessMetrics(metrics, unread)
  addOperationsMetrics(metrics, unread)
  addIngestMetrics(metrics, unread)
  addJournalMetrics(metrics, unread)
  addKafkaMetrics(metrics, unread)
  addReadsMetrics(metrics, unread)
  addReplicaMetrics(metrics, unread)
  addLatestCacheMetrics(metrics, unread)
  addEventsMetrics(metrics, unread)
  addRollupMetrics(metrics, unread)
  addSecurityMetrics(metrics, unread)
  addTransportMetrics(metrics, unread)
  addGrpcMetrics(metrics, unread)
  addBrokerMetrics(metrics, unread)
  addClusterMetrics(metrics, unread)
  addSinkMetrics(metrics, unread, unread)
  addBridgeMetrics(metrics, unread)
  addLakeMetrics(metrics, unread)
  addExportMetrics(metrics, unread)
  return metrics
}
