import type { Kysely } from 'kysely'
import type { Pool, PoolClient } from 'pg'
import { foldLatest } from './fold-latest.ts'
import { encodePipeline, runPipeline, type Step, type TextRow } from './pipeline.ts'
import { copyReadings } from './queries/copy-readings.ts'
import { insertDeadLetters } from './queries/insert-dead-letters.ts'
import { insertReadings, toIdentity } from './queries/insert-readings.ts'
import { setStatementTimeout } from './queries/set-statement-timeout.ts'
import { upsertLatest } from './queries/upsert-latest.ts'
import { Resenders } from './resenders.ts'
import type { DeadLetterRow, ReadingRow } from './rows.ts'
import { isServerError, isUniqueViolation, toSqlState } from './sqlstate.ts'
import type { Tables } from './tables.ts'

/** What a committed batch did. */
export interface Written {
  /** Indexes into the batch's readings of those that were stored before, or twice in the batch. */
  readonly duplicates: readonly number[]
}

export interface StoreOptions {
  readonly pool: Pool
  readonly kysely: Kysely<Tables>
  /** After COMMIT, before `write` settles: these are stored, now or before. Must not throw. */
  readonly onStored?: (readings: readonly ReadingRow[]) => void
}

/** From the server's time-out of a statement to ours: its answer, which says that nothing is stored, comes first. */
const ANSWER_MS = 500

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
 * A batch is optimistic: most hold nothing that is stored already, so history goes in by COPY. When PostgreSQL answers
 * 23505 (a redelivery), the batch goes in again by insert … on conflict; what a device sends that keeps doing so is inserted beside the COPY.
 * `latest` comes last, so its row locks are held for the shortest time.
 */
export function createStore ({ pool, kysely, onStored }: StoreOptions) {
  const toInsertReadings = insertReadings(kysely)
  const toInsertDeadLetters = insertDeadLetters(kysely)
  const toUpsertLatest = upsertLatest(kysely)
  const resenders = new Resenders()

  /**
   * @param timeoutMs - of a batch that may take longer, or must end sooner, than the pool's time-outs say
   * @returns after COMMIT: the batch is durable
   * @throws `VITAL_UNKNOWN_OUTCOME`, or PostgreSQL's error with its SQLSTATE; then nothing of the batch is stored
   */
  async function write (readings: readonly ReadingRow[], letters: readonly DeadLetterRow[], timeoutMs?: number): Promise<Written> {
    if (readings.length === 0 && letters.length === 0) return { duplicates: [] }
    const client = await pool.connect()
    let failure: Error | undefined
    try {
      const written = await writeOn(client, readings, letters, timeoutMs)
      onStored?.(readings)
      return written
    } catch (error) {
      failure = error as Error
      throw error
    } finally {
      client.release(failure !== undefined && !isReusable(failure) ? failure : undefined)
    }
  }

  async function writeOn (
    client: PoolClient, readings: readonly ReadingRow[], letters: readonly DeadLetterRow[], timeoutMs?: number
  ): Promise<Written> {
    const limit = timeoutMs === undefined ? [] : [setStatementTimeout(timeoutMs)]
    const rest: Step[] = []
    if (letters.length > 0) rest.push(toInsertDeadLetters(letters))
    if (readings.length > 0) rest.push(toUpsertLatest(foldLatest(readings)))
    const { others, resent } = resenders.split(readings)
    try {
      const history = [...others.length > 0 ? [copyReadings(others)] : [], ...resent.length > 0 ? [toInsertReadings(resent)] : []]
      const stored = await commit(client, [...limit, ...history, ...rest], timeoutMs)
      return { duplicates: resent.length === 0 ? [] : toDuplicates(readings, stored, new Set(resent)) }
    } catch (error) {
      if (!isUniqueViolation(error)) throw error
    }
    const stored = await commit(client, [...limit, toInsertReadings(readings), ...rest], timeoutMs)
    return { duplicates: toDuplicates(readings, stored, new Set(readings)) }
  }

  /** @param stored - identities of those of `inserted` that were new */
  function toDuplicates (readings: readonly ReadingRow[], stored: readonly TextRow[], inserted: ReadonlySet<ReadingRow>): number[] {
    const fresh = new Set(stored.map(([identity]) => identity))
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

/**
 * Errors of the server that its connection would keep failing with: 0A000, a plan cached before a migration changed its
 * tables; 25P02, a transaction that somebody left open; 26000, statements that somebody deallocated.
 */
const LASTING = /^(?:0A|25|26)/

/**
 * Whether the connection is sound after an error: the server reported it, so the transaction was rolled back. After any
 * other (time-out, lost connection) it must never be used again.
 */
function isReusable (error: unknown): boolean {
  return isServerError(error) && !LASTING.test(toSqlState(error) ?? '')
}

async function commit (client: PoolClient, steps: readonly Step[], timeoutMs?: number): Promise<readonly TextRow[]> {
  const pipeline = encodePipeline(client, steps, timeoutMs === undefined ? undefined : timeoutMs + ANSWER_MS)
  try {
    return await runPipeline(client, pipeline)
  } catch (error) {
    if (isServerError(error)) throw error
    throw new UnknownOutcomeError(error)
  }
}
