import type { Metrics } from '../../metrics/metrics.ts'
import { CIRCUIT_STATES, type Circuit } from './circuit.ts'
import type { KeptCheck } from './kept-check.ts'
import type { RefusedLetters } from './refused-letters.ts'
import type { Replayer } from './replayer.ts'
import type { KeptSegments } from './spool/kept-segments.ts'
import { SPOOL_STATUSES, type Spool } from './spool/spool.ts'

interface JournalStatistics {
  readonly isDatabaseUp: boolean
  readonly circuit: Pick<Circuit, 'state'>
  readonly spool: Pick<Spool, 'bytes' | 'bytesMax' | 'status' | 'setAsideFiles' | 'damage'>
  readonly replayer: Pick<Replayer, 'pending' | 'replayed'>
  readonly refusedLetters: Pick<RefusedLetters, 'count' | 'dropped'>
}

/** Processes without ingest have this metric, too. */
export function addDatabaseUp (metrics: Metrics, isUp: () => boolean): void {
  metrics.gauge('vital_database_up', '1 while PostgreSQL takes batches, or answers a process that only reads', () => isUp() ? 1 : 0)
}

interface KeptStatistics {
  readonly segments: Pick<KeptSegments, 'bytes' | 'givenUp'>
  readonly check: Pick<KeptCheck, 'writtenAgain'>
}

/** Metrics of a gateway that keeps replayed segments. */
export function addKeptMetrics (metrics: Metrics, { segments, check }: KeptStatistics): void {
  metrics.gauge('vital_spool_kept_bytes', 'Bytes of the disk spool that Kafka has, and that are kept in case ' +
    'it loses them', () => segments.bytes)
  metrics.counter('vital_spool_kept_given_up_total', 'Files of these that were removed before their time, because there was no room',
    () => segments.givenUp)
  metrics.counter('vital_spool_written_again_readings_total',
    'Readings of these that were written to Kafka again, because it had lost them or may have', () => check.writtenAgain)
}

export function addJournalMetrics (metrics: Metrics, read: () => JournalStatistics): void {
  addDatabaseUp(metrics, () => read().isDatabaseUp)
  metrics.stateGauge('vital_circuit_state', '1 for the state that the circuit to PostgreSQL, or to Kafka, is in', CIRCUIT_STATES,
    () => read().circuit.state)
  metrics.gauge('vital_spool_bytes', 'Bytes in the disk spool', () => read().spool.bytes)
  metrics.gauge('vital_spool_bytes_max', 'Bytes in the disk spool at most', () => read().spool.bytesMax)
  metrics.stateGauge('vital_spool_state', '1 for the state that the disk spool is in', SPOOL_STATUSES,
    () => read().spool.status)
  metrics.gauge('vital_spool_readings',
    'Readings in the disk spool: acknowledged, not yet in PostgreSQL or Kafka; part of vital_readings_pending',
    () => read().replayer.pending)
  metrics.gauge('vital_spool_set_aside',
    'Readings that PostgreSQL, or Kafka, did not take by themselves; each is kept in a file in the directory of the spool',
    () => read().spool.setAsideFiles)
  metrics.counter('vital_spool_replayed_readings_total', 'Readings brought from the spool into PostgreSQL, or Kafka',
    () => read().replayer.replayed)
  metrics.counter('vital_spool_damaged_stretches_total',
    'Places of the spool that the disk destroyed; their files are kept aside', () => read().spool.damage.stretches)
  metrics.counter('vital_dead_letters_refused_total',
    'Dead letters that the database refused; they are kept in a file of the data directory',
    () => read().refusedLetters.count())
  metrics.counter('vital_dead_letters_dropped_total',
    'Dead letters that the database refused and that are gone, because their file was full',
    () => read().refusedLetters.dropped())
}
