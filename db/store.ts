import type { Kysely } from 'kysely'
import type { Pool, PoolClient } from 'pg'
import { someAhead } from './effective-time.ts'
import { foldLatest } from './write/fold-latest.ts'
import { LateMarks } from './write/late-marks.ts'
import { encodePipeline, runPipeline, type Step, type TextRow, toStatement } from './write/pipeline.ts'
import type { Claim } from './queries/claim-offset.ts'
import { toVersionedRow, type VersionedRow } from './queries/copied-rows.ts'
import { copyReadings } from './queries/copy-readings.ts'
import { insertDeadLetters } from './queries/insert-dead-letters.ts'
import { insertReadings, toIdentity } from './queries/insert-readings.ts'
import { moveOffsets } from './queries/move-offsets.ts'
import { setStatementTimeout } from './queries/set-statement-timeout.ts'
import { upsertLatest } from './queries/upsert-latest.ts'
import { Resenders, type Run } from './write/resenders.ts'
import type { DeadLetterRow, ReadingRow } from './rows.ts'
import { isServerError, isUniqueViolation, toSqlState } from './sqlstate.ts'
import type { Tables } from './tables.ts'
import { toLetterOrder, toWriteOrder, type WriteOrder } from './write/write-order.ts'

/** The result of a committed batch. */
export interface Written {
  /** Indexes into the batch's readings of those that were stored before, or twice in the batch. */
  readonly duplicates: readonly number[]
}

/**
 * Observes readings that are stored. Called after COMMIT, in the order of the list and in the same turn, before `write`
 * settles, so before the acknowledgement: a read that begins after it finds these readings.
 *
 * An observer is on the path of every batch, so it takes microseconds, keeps no reference to the rows, and defers
 * longer work. It gets each reading at least once, in any order. Redelivered readings come again, except where a
 * redelivery would count anew (a timestamp ahead of its receipt). Readings whose COMMIT had no answer come when their
 * batch is replayed. An observer must not throw. The batch is stored all the same, so the error is thrown again outside
 * of the write, as a bug that ends the process, and the observers behind it are still called.
 * @param readings - that were merged into `latest`, as received
 */
export type StoredObserver = (readings: readonly ReadingRow[]) => void

/**
 * Keeps a copy of `latest` true. Its methods and those of its intents never reject. None takes longer than some tens of
 * milliseconds, because acknowledgements wait for them.
 */
export interface LatestCopy {
  /**
   * A batch is about to change these devices.
   * @param pid - of the server's process that will do it
   */
  begin (devices: readonly string[], pid: number): Promise<CopyIntent>
}

/** Exactly one of its methods is called, once. */
export interface CopyIntent {
  /** Committed. @param rows - of all devices that were changed */
  apply (rows: readonly VersionedRow[]): Promise<void>
  /** Not committed. @param isDecided - `false`: the outcome is unknown */
  giveUp (isDecided: boolean): void
}

export interface StoreOptions {
  readonly pool: Pool
  readonly kysely: Kysely<Tables>
  readonly copy?: LatestCopy | null
  readonly onStored?: readonly StoredObserver[]
}

/** Our time-out of a statement is later than the server's by this: its answer that nothing is stored comes first. */
const ANSWER_MS = 500

/** Buckets are closed every five minutes, so a batch meets one closing at most; a store's first batch may meet two. */
const CLOSINGS_MAX = 3

interface Batch {
  readonly client: PoolClient
  readonly readings: readonly ReadingRow[]
  readonly order: WriteOrder
  readonly letters: readonly Step[]
  readonly offsets: readonly Step[]
  /** Sets the time-out of its statements, where it has one of its own. */
  readonly limit: readonly Step[]
  readonly timeoutMs: number | undefined
}

interface Folded {
  /** The readings that were merged into `latest`. */
  readonly folded: readonly ReadingRow[]
  /** The rows that the statements returned. */
  readonly returned: readonly TextRow[]
}

const BEGIN: Step = { statement: toStatement('begin'), parameters: 0, sizeBytes: 64 }
const COMMIT: Step = { statement: toStatement('commit'), parameters: 0, sizeBytes: 64 }

/** The batch was sent and the answer to its COMMIT never came: it may be stored or not. */
class UnknownOutcomeError extends Error {
  readonly code = 'VITAL_UNKNOWN_OUTCOME'
  constructor (cause: unknown) {
    super('PostgreSQL did not answer to COMMIT, so it is unknown whether the batch is stored', { cause })
  }
}

/**
 * Writes batches into PostgreSQL: history, latest state and dead letters in one transaction and one round trip.
 *
 * A batch is optimistic: most batches hold no reading that is stored already, so history goes in by COPY. When
 * PostgreSQL answers 23505 (a redelivery), the batch goes in again by insert … on conflict. Readings of a device that
 * keeps resending are inserted beside the COPY. `latest` comes after history and dead letters, so its row locks are
 * held for the shortest time. Rows of each table are written in one order (`write-order.ts`).
 */
export function createStore ({ pool, kysely, copy = null, onStored = [] }: StoreOptions) {
  const toInsertReadings = insertReadings(kysely)
  const toInsertDeadLetters = insertDeadLetters(kysely)
  const toMoveOffsets = moveOffsets(kysely)
  const toUpsertLatest = upsertLatest(kysely, copy !== null)
  const resenders = new Resenders()
  const lateMarks = new LateMarks()

  /**
   * @param timeoutMs - for a batch that may take longer, or must end sooner, than the pool's time-outs say
   * @param claims - for a sink: the partitions that the batch comes from, and their positions once it is stored
   * @returns after COMMIT: the batch is durable
   * @throws `VITAL_UNKNOWN_OUTCOME`, or PostgreSQL's error with its SQLSTATE; then nothing of the batch is stored
   */
  async function write (
    readings: readonly ReadingRow[], letters: readonly DeadLetterRow[], timeoutMs?: number, claims: readonly Claim[] = []
  ): Promise<Written> {
    if (readings.length === 0 && letters.length === 0 && claims.length === 0) return { duplicates: [] }
    const client = await pool.connect()
    let failure: Error | undefined
    let intent: CopyIntent | undefined
    let written: Written & Folded
    try {
      if (copy !== null && readings.length > 0) intent = await copy.begin(toDevices(readings), toPid(client))
      written = await writeOn(client, readings, letters, timeoutMs, claims)
    } catch (error) {
      failure = error as Error
      intent?.giveUp(isServerError(error))
      throw error
    } finally {
      client.release(failure !== undefined && !isReusable(failure) ? failure : undefined)
    }
    const { duplicates, folded, returned } = written
    if (intent !== undefined) await intent.apply(returned.flatMap((row) => toVersionedRow(row) ?? []))
    tell(onStored, folded)
    return { duplicates }
  }

  async function writeOn (
    client: PoolClient, readings: readonly ReadingRow[], letters: readonly DeadLetterRow[], timeoutMs: number | undefined,
    claims: readonly Claim[]
  ): Promise<Written & Folded> {
    const order = toWriteOrder(readings)
    const batch: Batch = {
      client,
      readings,
      order,
      letters: letters.length > 0 ? [toInsertDeadLetters(toLetterOrder(letters))] : [],
      offsets: claims.length > 0 ? [toMoveOffsets(claims)] : [],
      limit: timeoutMs === undefined ? [] : [setStatementTimeout(timeoutMs)],
      timeoutMs
    }
    let runs = resenders.toRuns(order.history)
    let attempts = 0
    for (;;) {
      try {
        return await writeRuns(batch, runs)
      } catch (error) {
        if (isUniqueViolation(error) && runs.some(({ isInserted }) => !isInserted)) {
          runs = [{ rows: order.history, isInserted: true }]
        } else if (!lateMarks.learn(error) || ++attempts === CLOSINGS_MAX) {
          throw error
        }
      }
    }
  }

  async function writeRuns (batch: Batch, runs: readonly Run[]): Promise<Written & Folded> {
    const { client, readings, order, letters, offsets, limit, timeoutMs } = batch
    const history = readings.length === 0
      ? []
      : runs.map(({ rows, isInserted }) => isInserted ? toInsertReadings(rows) : copyReadings(rows))
    const inserted = runs.filter(({ isInserted }) => isInserted).flatMap(({ rows }) => rows)
    if (someAhead(inserted)) return await writeFresh(batch, history, inserted)
    const stored = await run(client, [
      ...limit, ...history, ...letters, ...toLatest(order.byDevice), ...lateMarks.toSteps(order.byDevice), ...offsets
    ], timeoutMs)
    return { duplicates: inserted.length === 0 ? [] : toDuplicates(readings, stored, inserted), folded: readings, returned: stored }
  }

  /**
   * A reading ahead of its receipt counts as of its receipt, and its redelivery is received later: it must not be
   * folded again. The inserts tell which of them are new, so this takes two round trips. Batches without such a reading
   * take one, because folding other readings again changes nothing.
   */
  async function writeFresh (
    { client, readings, order, letters, offsets, limit, timeoutMs }: Batch, history: readonly Step[], inserted: readonly ReadingRow[]
  ): Promise<Written & Folded> {
    try {
      const stored = await run(client, [BEGIN, ...limit, ...history], timeoutMs, 'T')
      const duplicates = toDuplicates(readings, stored, inserted)
      const known = new Set(duplicates.map((index) => readings[index]))
      const folded = order.byDevice.filter((row) => !known.has(row))
      const returned = await run(client, [
        ...letters, ...toLatest(folded), ...lateMarks.toSteps(order.byDevice), ...offsets, COMMIT
      ], timeoutMs)
      return { duplicates, folded, returned }
    } catch (error) {
      if (isServerError(error)) await client.query('rollback')
      throw error
    }
  }

  function toLatest (rows: readonly ReadingRow[]): readonly Step[] {
    return rows.length === 0 ? [] : [toUpsertLatest(foldLatest(rows))]
  }

  /** @param stored - identities of those of `rows` that were new */
  function toDuplicates (
    readings: readonly ReadingRow[], stored: readonly TextRow[], rows: readonly ReadingRow[]
  ): number[] {
    const fresh = new Set(stored.map(([identity]) => identity))
    const inserted = new Set(rows)
    const duplicates: number[] = []
    for (const [index, reading] of readings.entries()) {
      // The first of several equal readings in the batch is the one that was stored.
      if (inserted.has(reading) && !fresh.delete(toIdentity(reading))) duplicates.push(index)
    }
    resenders.note(new Set(duplicates.map((index) => readings[index]!.device)))
    return duplicates
  }

  return { write }
}

export type Store = ReturnType<typeof createStore>

function toDevices (readings: readonly ReadingRow[]): string[] {
  const devices = new Set<string>()
  for (const { device } of readings) devices.add(device)
  return [...devices]
}

/** pg's client has the process id, but its types lack it. */
function toPid (client: PoolClient): number {
  return (client as PoolClient & { readonly processID: number }).processID
}

function tell (observers: readonly StoredObserver[], readings: readonly ReadingRow[]): void {
  for (const observe of observers) {
    try {
      observe(readings)
    } catch (error) {
      setImmediate(() => { throw error })
    }
  }
}

/**
 * Server errors that would recur on the same connection: 0A000, a plan cached before a migration changed its tables;
 * 25P02, a transaction left open by another user of the connection; 26000, statements that were deallocated.
 */
const LASTING = /^(?:0A|25|26)/

/**
 * Whether the connection is sound after an error: the server reported it, so the transaction was rolled back. After any
 * other (time-out, lost connection) it must never be used again.
 */
function isReusable (error: unknown): boolean {
  return isServerError(error) && !LASTING.test(toSqlState(error) ?? '')
}

/** @param left - `T` for steps that begin a transaction and leave it open */
async function run (
  client: PoolClient, steps: readonly Step[], timeoutMs: number | undefined, left: 'I' | 'T' = 'I'
): Promise<readonly TextRow[]> {
  const pipeline = encodePipeline(client, steps, timeoutMs === undefined ? undefined : timeoutMs + ANSWER_MS)
  try {
    return await runPipeline(client, pipeline, left)
  } catch (error) {
    if (isServerError(error)) throw error
    throw new UnknownOutcomeError(error)
  }
}
