/**
 * Writes submissions into PostgreSQL, so that one poison row never fails a whole batch. A batch that is refused for its
 * data (class 22, 23 …) is halved until the refused reading is alone. That reading becomes a dead letter, the rest is
 * committed. Readings that are decided on the way are marked, and left out when the batch is retried.
 */
import { hash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { DeadLetterRow, ReadingRow } from '../../../db/rows.ts'
import { classifyError, isPartitionRace, toSqlState, type WriteFault } from '../../../db/sqlstate.ts'
import type { Store } from '../../../db/store.ts'
import { toPayload } from '../reading-row.ts'
import { type RefusedLetters, toPlainLetter } from './refused-letters.ts'
import type { Submission } from '../submission.ts'

/** Deadlocks and serialization failures pass on a retry; after this many retries the cause is another one. */
const TRANSIENT_RETRIES_MAX = 3
const TRANSIENT_RETRY_MS = 20

/** The smallest part of a batch that can be refused: one reading, or a whole submission that is all or nothing. */
interface Unit {
  readonly submission: Submission
  /** Indexes into the submission's readings. */
  readonly indexes: readonly number[]
}

/**
 * Set when the caller of a write has given up. Its late result must not touch submissions that were stored elsewhere.
 */
export interface Cancellation {
  isCancelled: boolean
  /** Time-out of each statement; by default that of the pool. */
  readonly timeoutMs?: number
}

class CancelledError extends Error {
  readonly code = 'VITAL_WRITE_CANCELLED'
}

export interface WriterOptions {
  readonly store: Store
  readonly logger: Logger
  /** Keeps dead letters that the database refuses; without it, such a letter fails its batch. */
  readonly refusedLetters?: Pick<RefusedLetters, 'keep'>
  /** Classifies the error of a write; by default by SQLSTATE. */
  readonly classify?: (error: unknown) => WriteFault
}

export function createWriter ({ store, logger, refusedLetters, classify = classifyError }: WriterOptions) {
  /**
   * @returns after COMMIT of everything in `submissions`; duplicates and rejections are noted on them
   * @throws the error of the database; readings that were decided by then are marked
   */
  async function write (submissions: readonly Submission[], cancellation: Cancellation): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      try {
        await writeOrIsolate(submissions, cancellation)
        return
      } catch (error) {
        // Class 40, transaction_rollback: two gateways wrote the same rows. A race to create a partition: it exists
        // now.
        if (!(toSqlState(error)?.startsWith('40') === true || isPartitionRace(error)) ||
          attempt >= TRANSIENT_RETRIES_MAX) {
          throw error
        }
      }
      await sleep(Math.random() * TRANSIENT_RETRY_MS * 2 ** attempt)
    }
  }

  async function writeOrIsolate (submissions: readonly Submission[], cancellation: Cancellation): Promise<void> {
    const { readings, letters, isDecided } = gather(submissions)
    if (!isDecided) {
      try {
        const { duplicates } = await store.write(readings, letters, cancellation.timeoutMs)
        assertWanted(cancellation)
        if (duplicates.length > 0) countDuplicates(submissions, duplicates)
        return
      } catch (error) {
        if (classify(error) !== 'reject-row') throw error
      }
      assertWanted(cancellation)
    }
    // Mark all of them: a reading that is stored now and retried with the others must not be counted twice.
    for (const submission of submissions) submission.decided ??= new Set()
    await isolate(submissions.flatMap(toUnits), cancellation)
    await writeLetters(letters, cancellation)
  }

  /**
   * A letter that the database refuses must not block its batch: it is retried with plain texts, and then kept in a
   * file.
   */
  async function writeLetters (letters: readonly DeadLetterRow[], cancellation: Cancellation): Promise<void> {
    if (letters.length === 0) return
    try {
      await store.write([], letters, cancellation.timeoutMs)
      assertWanted(cancellation)
      return
    } catch (error) {
      if (classifyError(error) !== 'reject-row') throw error
    }
    assertWanted(cancellation)
    if (letters.length === 1) return await writePlain(letters[0]!, cancellation)
    const middle = letters.length >> 1
    await writeLetters(letters.slice(0, middle), cancellation)
    await writeLetters(letters.slice(middle), cancellation)
  }

  async function writePlain (letter: DeadLetterRow, cancellation: Cancellation): Promise<void> {
    try {
      await store.write([], [toPlainLetter(letter)], cancellation.timeoutMs)
    } catch (error) {
      if (classifyError(error) !== 'reject-row' || refusedLetters === undefined) throw error
      await refusedLetters.keep(letter, toRefusalMessage(error))
    }
    assertWanted(cancellation)
  }

  /** Commits as much as possible, halving refused batches. */
  async function isolate (units: readonly Unit[], cancellation: Cancellation): Promise<void> {
    if (units.length === 0) return
    let refusal: unknown
    try {
      const { duplicates } = await store.write(units.flatMap(toRows), [], cancellation.timeoutMs)
      assertWanted(cancellation)
      decide(units, new Set(duplicates))
      return
    } catch (error) {
      if (classify(error) !== 'reject-row') throw error
      refusal = error
    }
    assertWanted(cancellation)
    if (units.length === 1) {
      await reject(units[0]!, refusal, cancellation)
      return
    }
    const middle = units.length >> 1
    await isolate(units.slice(0, middle), cancellation)
    await isolate(units.slice(middle), cancellation)
  }

  async function reject (unit: Unit, refusal: unknown, cancellation: Cancellation): Promise<void> {
    const { submission, indexes } = unit
    logger.warn({ sqlstate: toSqlState(refusal), transport: submission.transport }, 'the database refused a reading')
    const errors = [{ path: '', message: `the database refused it: ${toRefusalMessage(refusal)}` }]
    const rows = toRows(unit)
    // The reading passes every rule of the gateway, so it is kept even beyond the caps.
    if (!submission.isAllOrNothing) {
      await writeLetters(rows.map((row) => toDeadLetter(row, submission, errors)), cancellation)
    }
    assertWanted(cancellation)
    for (const row of rows) submission.reject({ row, errors })
    for (const index of indexes) submission.decided?.add(index)
  }

  return { write }
}

export type Writer = ReturnType<typeof createWriter>

function assertWanted (cancellation: Cancellation): void {
  if (cancellation.isCancelled) throw new CancelledError('the write was given up')
}

/** Pushes one by one, because `flatMap` took 2 % of the CPU of an acknowledgement. */
function gather (submissions: readonly Submission[]) {
  const readings: ReadingRow[] = []
  const letters: DeadLetterRow[] = []
  let isDecided = false
  for (const submission of submissions) {
    for (const reading of submission.readings) readings.push(reading)
    for (const letter of submission.letters) letters.push(letter)
    isDecided ||= submission.decided !== null
  }
  return { readings, letters, isDecided }
}

function toUnits (submission: Submission): Unit[] {
  const open = [...submission.readings.keys()].filter((index) => submission.decided?.has(index) !== true)
  if (open.length === 0) return []
  return submission.isAllOrNothing
    ? [{ submission, indexes: open }]
    : open.map((index) => ({ submission, indexes: [index] }))
}

function toRows ({ submission, indexes }: Unit): ReadingRow[] {
  return indexes.map((index) => submission.readings[index]!)
}

/** @param duplicates - indexes into all rows of `units` */
function decide (units: readonly Unit[], duplicates: ReadonlySet<number>): void {
  let at = 0
  for (const { submission, indexes } of units) {
    for (const index of indexes) {
      if (duplicates.has(at++)) submission.duplicates++
      submission.decided?.add(index)
    }
  }
}

/** @param duplicates - ascending indexes into all readings of `submissions` */
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

function toDeadLetter (
  row: ReadingRow, { transport, clientId }: Submission, errors: DeadLetterRow['errors']
): DeadLetterRow {
  return {
    id: toLetterId(row),
    receivedAtMs: row.receivedAtMs,
    transport,
    topic: transport === 'http' ? null : `vital/${row.device}`,
    clientId,
    device: row.device,
    reason: 'database_rejected',
    errors,
    payload: Buffer.from(toPayload(row))
  }
}

/**
 * The id of a letter, the same for each try of one delivery, even after a restart. The outcome of the letter's own
 * COMMIT may be unknown, and with a random id every retry would store the letter again. A UUID of version 8 (RFC 9562
 * §5.8).
 */
function toLetterId ({ device, timeUs, hash: content, receivedAtMs }: ReadingRow): string {
  const hex = hash('sha256', JSON.stringify([device, timeUs, content, receivedAtMs]))
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}

/** PostgreSQL's `message` names types and constraints; its `detail` would quote the whole row. */
function toRefusalMessage (refusal: unknown): string {
  const { message = 'unknown error' } = refusal as { message?: string }
  const state = toSqlState(refusal)
  return state === null ? message : `${message} (SQLSTATE ${state})`
}
