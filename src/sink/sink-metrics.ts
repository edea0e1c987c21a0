import { addDatabaseUp } from '../ingest/journal/journal-metrics.ts'
import type { DeadLetterCaps } from '../ingest/dead-letter-caps.ts'
import { addBatches, addDeadLetters, addLedger, addPending } from '../ingest/ingest-metrics.ts'
import type { Ledger } from '../ingest/ledger.ts'
import type { Metrics, Series } from '../metrics/metrics.ts'
import type { AnnouncerStatistics } from './announcer.ts'
import { PARTITION_STATES, type SinkPartition } from './partition.ts'

interface StoringStatistics {
  readonly ledger: Ledger
  readonly pending: number
  readonly isDatabaseUp: boolean
  readonly caps: Pick<DeadLetterCaps, 'usage'>
}

/** State of a reader of Kafka. */
export interface ReaderStatistics {
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
  /** Number of positions that were moved back. */
  readonly truncations: number
}

/** How long the oldest unstored record of a partition has waited. @returns seconds; 0: none waits */
function toLagS (partition: SinkPartition, { nowMs, monotonicMs }: Pick<ReaderStatistics, 'nowMs' | 'monotonicMs'>): number {
  const { oldestMs, lag, trouble, progressAtMs } = partition
  if (oldestMs !== null) return Math.max(0, (nowMs - oldestMs) / 1000)
  // Nothing of it was read, so the age of its records is not known. The time since the last progress is.
  return lag === 0 && trouble === null ? 0 : (monotonicMs - progressAtMs) / 1000
}

/** Metrics that a sink has in common with gateways. @returns a function to call with each stored batch */
export function addStoringMetrics (metrics: Metrics, read: () => StoringStatistics) {
  addLedger(metrics, () => read().ledger)
  addDeadLetters(metrics, () => read().caps.usage)
  addDatabaseUp(metrics, () => read().isDatabaseUp)
  addPending(metrics, () => read().pending)
  return addBatches(metrics)
}

/** A reader of Kafka, as its metrics name it. */
interface Role {
  readonly role: 'sink' | 'lake' | 'export'
  readonly target: string
}

/** Metrics that only sinks have. */
export function addSinkMetrics (metrics: Metrics, readAnnouncer: () => AnnouncerStatistics, read: () => ReaderStatistics): void {
  metrics.counters('vital_sink_announcements_total',
    'Rejections for gateways to announce; dropped: Kafka did not take them', ['outcome'],
    () => Object.entries(readAnnouncer()).map(([outcome, count]): Series<'outcome'> => [{ outcome }, count]))
  addReaderMetrics(metrics, { role: 'sink', target: 'PostgreSQL' }, read)
}

/** Metrics of every reader of Kafka. */
export function addReaderMetrics (metrics: Metrics, { role, target }: Role, read: () => ReaderStatistics): void {
  const byPartition = (name: string, help: string, of: (partition: SinkPartition) => number) => {
    metrics.gauges(name, help, ['topic', 'partition'], () => [...read().partitions].map((partition): Series<'topic' | 'partition'> =>
      [{ topic: partition.place.topic, partition: String(partition.place.partition) }, of(partition)]))
  }
  byPartition(`vital_${role}_lag_records`, `Records of a partition of this ${role} that are in Kafka and not ` +
    `in ${target}`, ({ lag }) => lag)
  byPartition(`vital_${role}_lag_seconds`, 'How long the oldest of them has been in Kafka', (partition) => toLagS(partition, read()))
  byPartition(`vital_${role}_buffer_bytes`, 'Bytes of a partition that are read and not stored', ({ bytes }) => bytes)
  metrics.gauges(`vital_${role}_partitions`,
    `Partitions of this ${role}; full: not read until some of it is stored; the last four are stopped`,
    ['state'], () => PARTITION_STATES.map((state): Series<'state'> => {
      const { partitions, partitionBytesMax } = read()
      const states = [...partitions].map((partition) => partition.trouble?.reason ?? partition.state(partitionBytesMax))
      return [{ state }, states.filter((other) => other === state).length]
    }))
  metrics.gauge(`vital_${role}_member`, `1 while the consumer group knows this ${role}`, () => read().isMember ? 1 : 0)
  metrics.counter(`vital_${role}_rebalances_total`, `How often the group gave partitions to this ${role}, or took some away`,
    () => read().rebalances)
  metrics.counter(`vital_${role}_replaced_total`, `Partitions that another ${role} had claimed before a batch of theirs was stored here`,
    () => read().replaced)
  metrics.counter(`vital_${role}_rejoins_total`, `How often this ${role} left the group and joined it again, because nothing made progress`,
    () => read().rejoins)
  // A lake stops such partitions instead.
  if (role === 'lake') return
  metrics.counter(`vital_${role}_truncations_total`,
    `How often this ${role} read a partition again from where brokers had lost acknowledged records`,
    () => read().truncations)
}
