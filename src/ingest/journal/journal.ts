/**
 * The journal: `commit(batch)` settles when the batch is durable. The batch goes to the target (PostgreSQL, or Kafka).
 * If the target does not take it in time, it goes to the spool.
 *
 *   circuit closed ── target within commitTimeout ── yes ──> 'stored', in Kafka 'logged'
 *        │                     └── no: circuit opens ──┐
 *   circuit open, half-open ───────────────────────────┴─ spool, fsynced ──> 'spooled'
 *                                                          └── full or failed: wait with jitter, drop abandoned ones
 *
 * A batch in the spool may also be stored: its COMMIT was under way when time ran out. The identity of readings makes
 * that safe: on replay they count as duplicates.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { classifyError } from '../../../db/sqlstate.ts'
import type { Circuit } from './circuit.ts'
import { encodeSubmissions, type SpooledSubmission } from './spool/codec.ts'
import type { Spool } from './spool/spool.ts'
import type { Submission } from '../submission.ts'
import type { Writer } from './postgres-writer.ts'
import type { Target } from './target.ts'

const RETRY_MIN_MS = 50
const RETRY_MAX_MS = 1000

/** Submissions that become durable together. */
export interface Batch {
  submissions: Submission[]
}

/** Where a batch became durable: in the target, or in the spool, where it waits for the target. */
export type Committed = Target['outcome'] | 'spooled'

export interface JournalOptions {
  readonly target: Pick<Target, 'name' | 'outcome'>
  /** `spool`: a batch is durable only once the spool has it, and the replayer brings it to the target. */
  readonly ackAfter: 'target' | 'spool'
  readonly writer: Writer
  readonly spool: Pick<Spool, 'append'>
  readonly circuit: Circuit
  readonly logger: Logger
  /** Longest that a batch waits for the target before it goes to the spool. */
  readonly commitTimeoutMs: number
  /** Drops abandoned submissions before a batch is retried. */
  readonly onRetry: (batch: Batch) => void
  /** Called when the spool took a batch. */
  readonly onSpooled: () => void
  /** Called when the spool did not take a batch. */
  readonly onStuck: () => void
}

class CommitTimeoutError extends Error {
  readonly code = 'VITAL_COMMIT_TIMEOUT'
}

export function createJournal (options: JournalOptions) {
  const { target, ackAfter, writer, spool, circuit, logger, commitTimeoutMs, onRetry, onSpooled, onStuck } = options
  const stopping = new AbortController()

  /** @throws when the batch can never become durable: at a stop, or after a defect of the gateway */
  async function commit (batch: Batch): Promise<Committed> {
    let mayBeStored = false
    for (let attempt = 0; ; attempt++) {
      if (ackAfter === 'target' && circuit.state === 'closed') {
        if (await tryTarget(batch)) return target.outcome
        mayBeStored = true
      }
      if (await trySpool(batch)) return 'spooled'
      // The spool is full or failed, so the circuit's trial must not depend on a spooled batch: this batch is the
      // trial.
      if (ackAfter === 'target' && circuit.state === 'half-open') {
        if (await tryTarget(batch)) {
          circuit.succeed()
          return target.outcome
        }
        mayBeStored = true
      }
      await sleep(toRetryDelayMs(attempt), undefined, { signal: stopping.signal })
      // Readings that may be stored must not enter the ledger as refused, so the retry keeps all of them.
      if (!mayBeStored) onRetry(batch)
      if (batch.submissions.length === 0) return target.outcome
    }
  }

  async function tryTarget (batch: Batch): Promise<boolean> {
    try {
      await writeInTime(batch.submissions, commitTimeoutMs)
      return true
    } catch (error) {
      if (classifyError(error) === 'give-up') {
        logger.error({ err: error }, 'a batch cannot be written; it is not acknowledged')
        throw error
      }
      circuit.fail(error)
      return false
    }
  }

  async function trySpool (batch: Batch): Promise<boolean> {
    const { payload, readings } = await encodeSubmissions(batch.submissions.map(toSpooled))
    if (readings === 0) return true
    try {
      await spool.append(payload, readings)
      onSpooled()
      return true
    } catch (error) {
      const { code } = error as { code?: string }
      if (code !== 'VITAL_SPOOL_FULL' && code !== 'VITAL_SPOOL_FAILED') throw error
      onStuck()
      return false
    }
  }

  /** Rejects after `timeoutMs`. The write may go on, but no longer touches the submissions. */
  async function writeInTime (submissions: readonly Submission[], timeoutMs: number): Promise<void> {
    // The statement time-out of the session is derived from `commitTimeoutMs`; any other limit is set by statement.
    const cancellation = timeoutMs === commitTimeoutMs ? { isCancelled: false } : { isCancelled: false, timeoutMs }
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        cancellation.isCancelled = true
        reject(new CommitTimeoutError(`${target.name} did not take a batch within ${timeoutMs} ms`))
      }, timeoutMs)
    })
    try {
      await Promise.race([writer.write(submissions, cancellation), timeout])
    } finally {
      clearTimeout(timer)
    }
  }

  return {
    commit,
    writeInTime,
    /** Ends every wait for a retry. Batches that are not durable by then are given up, unacknowledged. */
    stop (): void {
      stopping.abort()
    }
  }
}

/** Doubles from {@link RETRY_MIN_MS}, with jitter, so that batches do not return in step. */
export function toRetryDelayMs (attempt: number, random: () => number = Math.random): number {
  const ceilingMs = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** attempt)
  return RETRY_MIN_MS / 2 + random() * (ceilingMs - RETRY_MIN_MS / 2)
}

/** Only undecided readings: a reading that PostgreSQL refused must not get a second dead letter. */
function toSpooled (submission: Submission): SpooledSubmission {
  const { transport, clientId, undecided, letters } = submission
  return { transport, clientId, readings: undecided, letters }
}
