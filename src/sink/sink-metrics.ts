import { addDatabaseUp } from '../ingest/journal/journal-metrics.ts'
import type { DeadLetterCaps } from '../ingest/dead-letter-caps.ts'
import { addBatches, addDeadLetters, addLedger, addPending } from '../ingest/ingest-metrics.ts'
import type { Ledger } from '../ingest/ledger.ts'
import type { Metrics, Series } from '../metrics/metrics.ts'
import { PARTITION_STATES, type SinkPartition } from './partition.ts'

interface StoringStatistics {
  readonly ledger: Ledger
  readonly pending: number
  readonly isDatabaseUp: boolean
  readonly caps: Pick<DeadLetterCaps, 'usage'>
}

interface SinkStatistics {
  readonly isMember: boolean
  readonly partitions: Iterable<SinkPartition>
  readonly partitionBytesMax: number
  /** Unix milliseconds. */
  readonly nowMs: number
  /** Monotonic milliseconds. */
  readonly monotonicMs: number
  readonly rebalances: number
  readonly replaced: number
  readonly rejoins: number
}

/** How long the oldest record of a partition that is not stored has waited. @returns seconds; 0: nothing waits */
function toLagS (partition: SinkPartition, { nowMs, monotonicMs }: Pick<SinkStatistics, 'nowMs' | 'monotonicMs'>): number {
  const { oldestMs, lag, trouble, progressAtMs } = partition
  if (oldestMs !== null) return Math.max(0, (nowMs - oldestMs) / 1000)
  // Nothing of it is read, so the age of what waits is not known, but for how long nothing was stored.
  return lag === 0 && trouble === null ? 0 : (monotonicMs - progressAtMs) / 1000
}

/** Metrics that a sink has in common with gateways. @returns takes each stored batch */
export function addStoringMetrics (metrics: Metrics, read: () => StoringStatistics) {
  addLedger(metrics, () => read().ledger)
  addDeadLetters(metrics, () => read().caps.usage)
  addDatabaseUp(metrics, () => read().isDatabaseUp)
  addPending(metrics, () => read().pending)
  return addBatches(metrics)
}

/** Metrics that only sinks have. */
export function addSinkMetrics (metrics: Metrics, read: () => SinkStatistics): void {
  const byPartition = (name: string, help: string, of: (partition: SinkPartition) => number) => {
    metrics.gauges(name, help, ['topic', 'partition'], () => [...read().partitions].map((partition): Series<'topic' | 'partition'> =>
      [{ topic: partition.place.topic, partition: String(partition.place.partition) }, of(partition)]))
  }
  byPartition('vital_sink_lag_records', 'Records of a partition of this sink that are in Kafka and not in PostgreSQL', ({ lag }) => lag)
  byPartition('vital_sink_lag_seconds', 'How long the oldest of them has been in Kafka', (partition) => toLagS(partition, read()))
  byPartition('vital_sink_buffer_bytes', 'Bytes of a partition that are read and not stored', ({ bytes }) => bytes)
  metrics.gauges('vital_sink_partitions', 'Partitions of this sink; full: not read until some of it is stored; the last three are stopped',
    ['state'], () => PARTITION_STATES.map((state): Series<'state'> => {
      const { partitions, partitionBytesMax } = read()
      const states = [...partitions].map((partition) => partition.trouble?.reason ?? partition.state(partitionBytesMax))
      return [{ state }, states.filter((other) => other === state).length]
    }))
  metrics.gauge('vital_sink_member', '1 while the consumer group knows this sink', () => read().isMember ? 1 : 0)
  metrics.counter('vital_sink_rebalances_total', 'How often the group gave partitions to this sink, or took some away',
    () => read().rebalances)
  metrics.counter('vital_sink_replaced_total', 'Partitions that another sink had claimed before a batch of theirs was stored here',
    () => read().replaced)
  metrics.counter('vital_sink_rejoins_total', 'How often this sink left the group and joined it anew, because nothing made progress',
    () => read().rejoins)
}
