import type { Metrics } from '../metrics/metrics.ts'
import type { KafkaStatistics } from './kafka-log.ts'

/** Metrics of a gateway's writes to Kafka. */
export function addKafkaMetrics (metrics: Metrics, read: () => KafkaStatistics): void {
  metrics.counter('vital_kafka_records_total', 'Records that all in-sync replicas of Kafka have', () => read().records)
  metrics.counter('vital_kafka_record_bytes_total', 'Bytes of their values', () => read().bytes)
  metrics.counter('vital_kafka_writes_total', 'Writes to Kafka, of one request to each broker that leads ' +
    'a partition', () => read().requests)
  metrics.counter('vital_kafka_write_failures_total', 'Batches that Kafka did not take, or not in time', () => read().failures)
  metrics.gauge('vital_kafka_topic_faults', 'Settings of topics that weaken what an acknowledgement survives', () => read().topicFaults)
}
