/**
 * The pipeline: every part of ingest, wired once. The gateway, the bridge, an erasure beside a stopped gateway and the
 * simulation of ingest use it; each brings its own target (PostgreSQL or Kafka), spool and clock.
 *
 *   acceptPublish, acceptPost, acceptRequest ──> batcher ──> journal ──> target
 *                                    ▲           │ ▲
 *              pressure, availability│           ▼ │ closed, open, half-open
 *                                    └──────── spool, circuit <── spool watch, pings
 *                                                │
 *                                                └──> replayer ──> target
 *
 * Circuit, journal, batcher and replayer call each other back, so some of the callbacks below name a part that is made
 * after them. None runs before `createPipeline` has returned.
 */
import type { Logger } from 'pino'
import type { Broker } from '../../broker/broker.ts'
import type { ReadingRow } from '../../db/rows.ts'
import type { Clock } from '../clock.ts'
import type { Metrics } from '../metrics/metrics.ts'
import { Batcher, type BatcherLimits } from './batcher.ts'
import { DeadLetterCaps, type DeadLetterLimits } from './dead-letter-caps.ts'
import { createIngest } from './ingest.ts'
import { addIngestMetrics } from './ingest-metrics.ts'
import { Circuit } from './journal/circuit.ts'
import { createJournal } from './journal/journal.ts'
import { addJournalMetrics, addKeptMetrics } from './journal/journal-metrics.ts'
import { toWarnings } from './journal/journal-warnings.ts'
import type { RefusedLetters } from './journal/refused-letters.ts'
import { Replayer } from './journal/replayer.ts'
import { createSpoolWatch } from './journal/spool/spool-watch.ts'
import { createKeptCheck, type Keeping } from './journal/kept-check.ts'
import type { ErasedDevices } from './journal/spool/erased-devices.ts'
import type { Spool } from './journal/spool/spool.ts'
import type { Target } from './journal/target.ts'
import { trackWrites } from './journal/tracked-writer.ts'
import { Ledger } from './ledger.ts'
import { INGEST_LIMITS, type IngestLimits } from './limits.ts'
import { createNameHints } from './name-hints.ts'
import { createReaders } from './readers.ts'
import type { Submission } from './submission.ts'

type ConfiguredLimits = Omit<BatcherLimits & DeadLetterLimits, keyof IngestLimits> & { readonly commitTimeoutMs: number }

/** The broker as the pipeline uses it: to stop reading, and to show subscribers the readings that came another way. */
export type AttachedBroker = Pick<Broker, 'pauseReading' | 'resumeReading' | 'publish'>

export interface PipelineOptions {
  /** May override {@link INGEST_LIMITS}; a simulation makes every bound small. */
  readonly limits: ConfiguredLimits & Partial<IngestLimits>
  readonly target: Target
  /** Topics of readings, as messages name them; by default `vital/{device}`. */
  readonly topic?: string
  /** Storage that an acknowledgement waits for; by default the target. */
  readonly ackAfter?: 'target' | 'spool'
  /** Given if Kafka is the target; otherwise the state of the circuit is that of PostgreSQL. */
  readonly isDatabaseUp?: () => boolean
  readonly spool: Spool
  /** Keeps replayed segments for a while, because Kafka may lose them; see kept-check.ts. */
  readonly keeping?: Keeping | null
  readonly clock: Pick<Clock, 'nowMs' | 'monotonicMs' | 'isConfirmed'>
  readonly refusedLetters: RefusedLetters
  /** Observes readings of one message that became durable, in the target or in the spool. Takes microseconds, never throws. */
  readonly onDurable?: (readings: readonly ReadingRow[]) => void
  /** Erasures: devices whose readings are not replayed, and whether a write may begin. A simulation has none. */
  readonly erasures?: { readonly erased: Pick<ErasedDevices, 'of'>, readonly mayWrite?: () => Promise<void> | null }
  readonly metrics: Metrics
  readonly logger: Logger
}

const NO_BROKER: AttachedBroker = { pauseReading () {}, resumeReading () {}, publish: () => null }

/** Nothing runs before `start`, except that a message is accepted and batched as soon as it comes. */
export function createPipeline (options: PipelineOptions) {
  const { target, ackAfter = 'target', spool, clock, refusedLetters, onDurable, erasures, metrics, logger } = options
  const limits = { ...INGEST_LIMITS, ...options.limits }
  let broker = NO_BROKER
  const readers = createReaders()
  const ledger = new Ledger()
  const nameHints = createNameHints(logger)
  const caps = new DeadLetterCaps(limits, (warning) => { logger.warn(warning) })
  const writes = trackWrites(target, erasures?.mayWrite)
  const observers = addIngestMetrics(metrics, () => ({
    ledger, pending: batcher.pending + replayer.pending, batcher, caps, nearMissNames: nameHints.count()
  }))
  const isDatabaseUp = options.isDatabaseUp ?? (() => circuit.state === 'closed')
  addJournalMetrics(metrics, () => ({ isDatabaseUp: isDatabaseUp(), circuit, spool, replayer, refusedLetters }))

  /** Whether the target or the spool takes readings. */
  const isDurable = () => (ackAfter === 'target' && circuit.state === 'closed') || spool.status === 'ok'
  const updateAvailability = () => { batcher.setAvailable(isDurable()) }
  const circuit: Circuit = new Circuit({
    target,
    logger,
    hasBacklog: () => replayer.hasTrial,
    onChange () {
      updateAvailability()
      replayer.wake()
    }
  })
  const spoolWatch = createSpoolWatch({
    spool, isNeeded: () => ackAfter === 'spool' || circuit.state !== 'closed', onChange: updateAvailability, logger
  })
  const journal = createJournal({
    target,
    ackAfter,
    writer: writes,
    spool,
    circuit,
    logger,
    commitTimeoutMs: limits.commitTimeoutMs,
    onRetry: (batch) => { batcher.dropAbandoned(batch) },
    onSpooled: () => { replayer.wake() },
    onStuck: updateAvailability
  })
  const batcher: Batcher = new Batcher({
    limits,
    ledger,
    commit: journal.commit,
    monotonicMs: clock.monotonicMs,
    onPressure: readers.press,
    onBatch: observers.observeBatch,
    onDurable: onDurable && ((submission) => { onDurable(toDurable(submission)) }),
    onSpooled: (units) => { replayer.add(units) }
  })
  const replayer = new Replayer({
    target,
    spool,
    circuit,
    ledger,
    logger,
    commitTimeoutMs: limits.commitTimeoutMs,
    write: journal.writeInTime,
    onReplayed: options.keeping?.segments.replayed,
    erased: erasures?.erased,
    // With `ackAfter: 'spool'` new readings do not wait for the target.
    isBusy: () => ackAfter === 'target' && batcher.isBusy
  })
  const kept = createKept(options, { ledger, replayer })
  const { acceptPublish, acceptPost, acceptRequest } = createIngest({
    batcher,
    caps,
    ledger,
    clock,
    nameHints,
    topic: options.topic ?? 'vital/{device}',
    onDurable: observers.observeAck,
    fanOut: (device, payload) => broker.publish({ topic: `vital/${device}`, payload, qos: 1 })
  })

  return {
    acceptPublish,
    acceptPost,
    acceptRequest,
    ledger,
    caps,
    batcher,
    circuit,
    target,
    spool,
    replayer,
    writes,
    refusedLetters,
    isDurable,
    isDatabaseUp,

    /** Conditions that weaken the promise now, as warnings for the operator. */
    warnings: () => [...caps.warnings(), ...refusedLetters.warnings(), ...target.warnings(), ...toWarnings(target, circuit, spool)],

    /** Adds the broker, which pauses and resumes reading from now on. Called once, before anything is accepted. */
    attach (attached: AttachedBroker): void {
      broker = attached
      readers.add(attached)
    },

    /** Adds another reader, which pauses and resumes reading from now on. */
    addReader: readers.add,

    /** Settles once the spool's disk was tried. Spooled batches are replayed from then on. */
    async start (): Promise<void> {
      await spoolWatch.start()
      for (const part of [replayer, kept]) part?.start()
    },

    /** Starts to ping the target. @param isReady - whether it is known to be ready; if not, the first ping decides */
    takeTarget (isReady = true): void {
      if (isReady) circuit.prove()
      circuit.start()
    },

    /** Waits until accepted readings are durable. Gives up, unacknowledged, those that are not by `drainTimeoutMs`. */
    async drain (): Promise<void> {
      await drain(batcher, limits.drainTimeoutMs, logger)
      journal.stop()
    },

    /** Called after `drain`. Readings that are not replayed by then stay in the spool, which stays open. */
    async stop (): Promise<void> {
      for (const part of [circuit, spoolWatch]) part.stop()
      for (const part of [kept, replayer]) await part?.stop()
    }
  }
}

/** @returns `null` if replayed segments are not kept */
function createKept (
  { keeping, spool, erasures, metrics, logger }: PipelineOptions,
  { ledger, replayer }: { readonly ledger: Ledger, readonly replayer: Replayer }
) {
  if (keeping === undefined || keeping === null) return null
  const check = createKeptCheck({
    ...keeping,
    spool,
    erased: erasures?.erased,
    onWrittenAgain (units) {
      ledger.received('spool', units)
      replayer.add(units)
      replayer.wake()
    },
    // The clock by which segments note when they were kept.
    nowMs: Date.now,
    logger
  })
  addKeptMetrics(metrics, { segments: keeping.segments, check })
  return check
}

async function drain (batcher: Batcher, timeoutMs: number, logger: Logger): Promise<void> {
  await batcher.drain(timeoutMs)
  const { pending } = batcher
  if (pending > 0) {
    logger.error({ pending }, 'stopped before all readings were durable; devices keep the unacknowledged ones')
  }
  batcher.stop()
}

/** The readings of a submission, without those that the database refused. */
function toDurable ({ readings, rejections }: Submission): readonly ReadingRow[] {
  if (rejections.length === 0) return readings
  const refused = new Set(rejections.map(({ row }) => row))
  return readings.filter((row) => !refused.has(row))
}

export type Pipeline = ReturnType<typeof createPipeline>
