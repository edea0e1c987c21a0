/**
 * The journal: `commit(batch)` settles when the batch is durable. The seam for growth: PostgreSQL stands behind it now.
 *
 * One batch, until it is decided:
 *
 *   write ── committed ───────────────────────────────> decided
 *     │
 *     ├─ a row is refused (class 22, 23 …) ── bisect ──> the culprit becomes a dead letter, the rest is committed
 *     │
 *     └─ the database is away ── wait with jitter ── write again, without what was abandoned meanwhile
 *
 * After a lost COMMIT nobody knows whether the batch is stored. The same rows are then written again, none left out:
 * identities make that safe, and a row may count as duplicate instead of stored.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { DeadLetterRow, ReadingRow } from '../../db/rows.ts'
import { classifyError } from '../../db/sqlstate.ts'
import { type Store, UnknownOutcomeError } from '../../db/store.ts'
import type { DeadLetterCaps } from './dead-letter-caps.ts'
import { toPayload } from './reading-row.ts'
import type { Submission } from './submission.ts'

const RETRY_MIN_MS = 50
const RETRY_MAX_MS = 1000

/** Submissions that share one transaction. */
export interface Batch {
  submissions: readonly Submission[]
}

/** The smallest part of a batch that can be refused: one reading over MQTT, a whole request over HTTP. */
interface Unit {
  readonly submission: Submission
  /** Indexes into the submission's readings. */
  readonly indexes: readonly number[]
}

export interface JournalOptions {
  readonly store: Store
  readonly caps: DeadLetterCaps
  readonly logger: Logger
  /** The database took a batch, or failed to. */
  readonly onAvailability: (isAvailable: boolean, cause?: unknown) => void
  /** Drops what may be dropped before a batch is tried again, and returns what is left. */
  readonly onRetry: (batch: Batch) => Batch
}

export function createJournal ({ store, caps, logger, onAvailability, onRetry }: JournalOptions) {
  const stopping = new AbortController()
  let retrying = 0

  /** Settles when every submission of the batch is decided; rejects when it never will be: at a stop, or for a defect of ours. */
  async function commit (batch: Batch): Promise<void> {
    let isOutcomeUnknown = false
    for (let attempt = 0; batch.submissions.length > 0; attempt++) {
      try {
        await writeOrIsolate(batch.submissions)
        onAvailability(true)
        return
      } catch (error) {
        if (error instanceof UnknownOutcomeError) isOutcomeUnknown = true
        else if (classifyError(error) === 'give-up') {
          logger.error({ err: error }, 'a batch cannot be written; its clients keep it')
          throw error
        }
        onAvailability(false, error)
      }
      retrying++
      await sleep(toRetryDelayMs(attempt), undefined, { signal: stopping.signal }).finally(() => { retrying-- })
      if (!isOutcomeUnknown) batch = onRetry(batch)
    }
  }

  async function writeOrIsolate (submissions: readonly Submission[]): Promise<void> {
    const isBisected = submissions.some((submission) => submission.decided !== null)
    if (!isBisected) {
      const readings = submissions.length === 1 ? submissions[0]!.readings : submissions.flatMap((submission) => submission.readings)
      const letters = submissions.flatMap((submission) => submission.letters)
      try {
        const { duplicates } = await store.write(readings, letters)
        if (duplicates.length > 0) countDuplicates(submissions, duplicates)
        return
      } catch (error) {
        if (classifyError(error) !== 'reject-row') throw error
      }
      for (const submission of submissions) submission.decided = new Set()
    }
    await isolate(submissions.flatMap(toUnits))
    const letters = submissions.flatMap((submission) => submission.letters)
    if (letters.length > 0) await store.write([], letters)
  }

  /** Commits what can be committed, halving what is refused until the culprit stands alone. */
  async function isolate (units: readonly Unit[]): Promise<void> {
    if (units.length === 0) return
    let refusal: unknown
    try {
      const { duplicates } = await store.write(units.flatMap(toRows), [])
      const isDuplicate = new Set(duplicates)
      let at = 0
      for (const unit of units) {
        for (const index of unit.indexes) {
          if (isDuplicate.has(at++)) unit.submission.duplicates++
          unit.submission.decided?.add(index)
        }
      }
      return
    } catch (error) {
      if (classifyError(error) !== 'reject-row') throw error
      refusal = error
    }
    if (units.length === 1) return await reject(units[0]!, refusal)
    const middle = units.length >> 1
    await isolate(units.slice(0, middle))
    await isolate(units.slice(middle))
  }

  async function reject (unit: Unit, cause: unknown): Promise<void> {
    const { submission, indexes } = unit
    logger.warn({ sqlstate: (cause as { code?: string }).code, transport: submission.transport }, 'the database refused a reading')
    const errors = [{ path: '', message: `the database refused it: ${toRefusalMessage(cause)}` }]
    const rows = indexes.map((index) => submission.readings[index]!)
    if (submission.transport === 'mqtt') {
      const letters = rows.map((row) => toDeadLetter(row, submission.clientId, errors)).filter(({ device, payload }) => caps.admit(device, payload.length))
      submission.rejectionsOverCap += rows.length - letters.length
      if (letters.length > 0) await store.write([], letters)
    }
    for (const row of rows) submission.rejections.push({ row, errors })
    for (const index of indexes) submission.decided?.add(index)
  }

  return {
    commit,
    /** Whether a batch waits to be tried again. */
    isRetrying: () => retrying > 0,
    /** Ends every wait for the database; batches that are not durable by then are given up, unacknowledged. */
    stop (): void {
      stopping.abort()
    }
  }
}

export type Journal = ReturnType<typeof createJournal>

/** Doubles from {@link RETRY_MIN_MS}, with full jitter, so that gateways do not return to a database in step. */
export function toRetryDelayMs (attempt: number, random: () => number = Math.random): number {
  const ceilingMs = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** attempt)
  return RETRY_MIN_MS / 2 + random() * (ceilingMs - RETRY_MIN_MS / 2)
}

function toUnits (submission: Submission): Unit[] {
  const open = [...submission.readings.keys()].filter((index) => submission.decided?.has(index) !== true)
  if (open.length === 0) return []
  return submission.transport === 'http' ? [{ submission, indexes: open }] : open.map((index) => ({ submission, indexes: [index] }))
}

function toRows (unit: Unit): ReadingRow[] {
  return unit.indexes.map((index) => unit.submission.readings[index]!)
}

/** Indexes into the batch's readings → a count on each submission. */
function countDuplicates (submissions: readonly Submission[], duplicates: readonly number[]): void {
  let end = 0
  let next = 0
  for (const submission of submissions) {
    end += submission.readings.length
    while (next < duplicates.length && duplicates[next]! < end) {
      submission.duplicates++
      next++
    }
  }
}

function toDeadLetter (row: ReadingRow, clientId: string | null, errors: DeadLetterRow['errors']): DeadLetterRow {
  return {
    id: randomUUID(),
    receivedAtMs: row.receivedAtMs,
    transport: 'mqtt',
    topic: `vital/${row.device}`,
    clientId,
    device: row.device,
    reason: 'database_rejected',
    errors,
    payload: Buffer.from(toPayload(row))
  }
}

/** PostgreSQL's `message` names types and constraints; its `detail` would quote the values. */
function toRefusalMessage (cause: unknown): string {
  const { code, message } = cause as { code?: string, message?: string }
  return `${message ?? 'unknown error'} (SQLSTATE ${code ?? 'unknown'})`
}
