import { TRANSPORTS } from '../../schemas/transport.ts'
import type { Metrics, Series } from '../metrics/metrics.ts'
import type { Batcher } from './batcher.ts'
import type { DeadLetterCaps } from './dead-letter-caps.ts'
import type { Account, Ledger } from './ledger.ts'

/** Seconds; from a batch on an idle machine to the default acknowledgement timeout. */
const ACK_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.04, 0.06, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10]
const BATCH_READINGS_BUCKETS = [1, 5, 10, 25, 50, 100, 250, 500, 1000, 2000, 5000, 10_000]

interface IngestStatistics {
  readonly ledger: Ledger
  /** Readings accepted and not yet decided, those in the spool included. */
  readonly pending: number
  readonly batcher: Pick<Batcher, 'bytes' | 'isClosed'>
  readonly caps: Pick<DeadLetterCaps, 'usage'>
  /** Different names of fields that are nearly those of vital signs. */
  readonly nearMissNames: number
}

/** Values that ingest observes while it runs; the rest is read at the scrape. */
export interface IngestObservers {
  observeAck (durationMs: number): void
  observeBatch (batch: { readonly readings: number, readonly durationMs: number }): void
}

export function addIngestMetrics (metrics: Metrics, read: () => IngestStatistics): IngestObservers {
  addLedger(metrics, () => read().ledger)
  metrics.counter('vital_near_miss_names_total',
    'Different field names that nearly are a vital sign\'s (heart_rate); the log names each, up to a hundred',
    () => read().nearMissNames)
  addPending(metrics, () => read().pending)
  metrics.gauge('vital_buffer_bytes', 'Bytes of readings accepted and not yet decided', () => read().batcher.bytes)
  metrics.gauge('vital_reading_stopped',
    '1 while reading from publishers is stopped: the buffer is full or nothing can be made durable',
    () => read().batcher.isClosed ? 1 : 0)
  addDeadLetters(metrics, () => read().caps.usage)
  const observeAckS = metrics.histogram('vital_ack_duration_seconds',
    'From receipt of a message to the moment that it is durable', ACK_BUCKETS)
  return { observeAck (durationMs) { observeAckS(durationMs / 1000) }, observeBatch: addBatches(metrics) }
}

/** Sinks have this metric, too. */
export function addPending (metrics: Metrics, read: () => number): void {
  metrics.gauge('vital_readings_pending', 'Readings accepted and not yet decided', read)
}

/** Sinks have these metrics, too. @returns a function to call with each batch */
export function addBatches (metrics: Metrics): IngestObservers['observeBatch'] {
  const observeBatchS = metrics.histogram('vital_batch_duration_seconds',
    'Time that a batch took to become durable', ACK_BUCKETS)
  const observeReadings = metrics.histogram('vital_batch_readings', 'Readings and dead letters in a batch',
    BATCH_READINGS_BUCKETS)
  return ({ readings, durationMs }) => {
    observeBatchS(durationMs / 1000)
    observeReadings(readings)
  }
}

/** Sinks have these metrics, too. */
export function addLedger (metrics: Metrics, read: () => Ledger): void {
  const total = (name: string, help: string, of: (account: Account) => number) => {
    metrics.counters(name, help, ['transport'],
      () => TRANSPORTS.map((transport) => [{ transport }, of(read().account(transport))]))
  }
  const byReason = (name: string, help: string, of: (account: Account) => ReadonlyMap<string, number>) => {
    metrics.counters(name, help, ['transport', 'reason'], () => TRANSPORTS.flatMap((transport) =>
      [...of(read().account(transport))].map(([reason, count]): Series<'transport' | 'reason'> =>
        [{ transport, reason }, count])))
  }
  total('vital_readings_received_total', 'Readings that came in; an undecodable payload counts as one',
    ({ received }) => received)
  total('vital_readings_stored_total', 'Readings committed in PostgreSQL', ({ stored }) => stored)
  total('vital_readings_logged_total', 'Readings and dead letters written to Kafka; a sink stores them', ({ logged }) => logged)
  total('vital_readings_duplicate_total', 'Readings that were stored before', ({ duplicate }) => duplicate)
  byReason('vital_readings_dead_lettered_total', 'Inputs kept as dead letters', ({ deadLettered }) => deadLettered)
  byReason('vital_readings_refused_total', 'Inputs that were not kept', ({ refused }) => refused)
}

/** Sinks have these metrics, too. */
export function addDeadLetters (metrics: Metrics, usage: () => DeadLetterCaps['usage']): void {
  metrics.gauge('vital_dead_letters', 'Dead letters kept, as counted at most a minute ago', () => usage().letters)
  metrics.gauge('vital_dead_letters_max',
    'Dead letters kept at most; beyond, bad input is counted as refused{reason="over_cap"}',
    () => usage().deadLettersMax)
  metrics.gauge('vital_dead_letter_bytes', 'Payload bytes of the dead letters kept', () => usage().bytes)
  metrics.gauge('vital_dead_letter_bytes_max', 'Payload bytes of dead letters kept at most',
    () => usage().deadLetterBytesMax)
  metrics.gauge('vital_dead_letters_per_device_max', 'Dead letters kept of one device at most',
    () => usage().deadLettersPerDeviceMax)
  metrics.gauge('vital_dead_letter_devices_at_cap', 'Devices of which no more dead letters are kept',
    () => usage().devicesAtCap)
}
