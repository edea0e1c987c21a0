import type { CompiledQuery, Kysely } from 'kysely'
import type { Pool, PoolClient } from 'pg'
import { foldLatest } from './fold-latest.ts'
import { appendReadings } from './queries/append-readings.ts'
import { beginAndCopyReadings } from './queries/copy-readings.ts'
import { insertDeadLetters } from './queries/insert-dead-letters.ts'
import { insertReadings, toIdentity } from './queries/insert-readings.ts'
import { upsertLatest } from './queries/upsert-latest.ts'
import type { DeadLetterRow, ReadingRow } from './rows.ts'
import { isServerError, isUniqueViolation, toSqlState } from './sqlstate.ts'
import type { Tables } from './tables.ts'

/** What a committed batch did. */
export interface Written {
  /** Indexes into the batch's readings of those that were stored before, or twice in the batch. */
  readonly duplicates: readonly number[]
}

/** COMMIT, or the one statement of a small batch, was sent and its answer never came: the batch may be stored or not. */
class UnknownOutcomeError extends Error {
  readonly code = 'VITAL_UNKNOWN_OUTCOME'
  constructor (cause: unknown) {
    super('PostgreSQL did not answer to COMMIT, so it is unknown whether the batch is stored', { cause })
  }
}

/** Readings up to which one statement beats a transaction with COPY (the README of this folder has the figures). */
const SMALL_BATCH_READINGS_MAX = 200

/**
 * Writes batches into PostgreSQL: history, latest state and dead letters in one transaction.
 *
 * A small batch without letters goes in by a single statement. Larger ones are optimistic: most batches hold nothing that is stored already, so history goes in by COPY. When PostgreSQL answers
 * 23505 (a redelivery), the transaction is rolled back and the batch goes in again by insert … on conflict.
 * `latest` comes last, so its row locks are held for the shortest time.
 */
export function createStore ({ pool, kysely }: { pool: Pool, kysely: Kysely<Tables> }) {
  /**
   * @returns after COMMIT: the batch is durable
   * @throws `VITAL_UNKNOWN_OUTCOME`, or PostgreSQL's error with its SQLSTATE; then nothing of the batch is stored
   */
  async function write (readings: readonly ReadingRow[], letters: readonly DeadLetterRow[]): Promise<Written> {
    const client = await pool.connect()
    let failure: Error | undefined
    try {
      return await writeOn(client, readings, letters)
    } catch (error) {
      failure = error as Error
      throw error
    } finally {
      client.release(failure !== undefined && !isReusable(failure) ? failure : undefined)
    }
  }

  async function writeOn (client: PoolClient, readings: readonly ReadingRow[], letters: readonly DeadLetterRow[]) {
    if (letters.length === 0 && readings.length <= SMALL_BATCH_READINGS_MAX) return await appendSmall(client, readings)
    try {
      return await transaction(client, readings, letters, copyAll)
    } catch (error) {
      if (!isUniqueViolation(error)) throw error
      return await transaction(client, readings, letters, insertNew)
    }
  }

  async function transaction (
    client: PoolClient, readings: readonly ReadingRow[], letters: readonly DeadLetterRow[],
    append: (client: PoolClient, readings: readonly ReadingRow[]) => Promise<Written>
  ): Promise<Written> {
    let written: Written = { duplicates: [] }
    try {
      if (readings.length > 0) {
        written = await append(client, readings)
        if (letters.length > 0) await execute(client, insertDeadLetters(kysely, letters))
        await execute(client, upsertLatest(kysely, foldLatest(readings)))
      } else {
        await client.query('begin')
        await execute(client, insertDeadLetters(kysely, letters))
      }
    } catch (error) {
      if (isServerError(error)) await client.query('rollback')
      throw error
    }
    await commit(client)
    return written
  }

  async function copyAll (client: PoolClient, readings: readonly ReadingRow[]): Promise<Written> {
    await beginAndCopyReadings(client, readings)
    return { duplicates: [] }
  }

  async function appendSmall (client: PoolClient, readings: readonly ReadingRow[]): Promise<Written> {
    if (readings.length === 0) return { duplicates: [] }
    try {
      const { rows } = await execute<{ identity: string }>(client, appendReadings(kysely, readings, foldLatest(readings)))
      return rows.length === readings.length ? { duplicates: [] } : { duplicates: toDuplicates(readings, rows) }
    } catch (error) {
      if (isServerError(error)) throw error
      throw new UnknownOutcomeError(error)
    }
  }

  async function insertNew (client: PoolClient, readings: readonly ReadingRow[]): Promise<Written> {
    await client.query('begin')
    const { rows } = await execute<{ identity: string }>(client, insertReadings(kysely, readings))
    return { duplicates: toDuplicates(readings, rows) }
  }

  return { write }
}

export type Store = ReturnType<typeof createStore>

/**
 * Whether the connection is sound after an error: the server reported it, so the transaction was rolled back. After any
 * other (time-out, lost connection) it must never be used again; nor after 0A000, which a cached plan keeps failing with
 * once a migration changed its tables.
 */
function isReusable (error: unknown): boolean {
  return isServerError(error) && toSqlState(error)?.startsWith('0A') !== true
}

/** @param stored - identities of the readings that were new */
function toDuplicates (readings: readonly ReadingRow[], stored: ReadonlyArray<{ identity: string }>): number[] {
  const fresh = new Set(stored.map(({ identity }) => identity))
  const duplicates: number[] = []
  for (const [index, reading] of readings.entries()) {
    // The first of several equal readings in the batch is the one that was stored.
    if (!fresh.delete(toIdentity(reading))) duplicates.push(index)
  }
  return duplicates
}

async function commit (client: PoolClient): Promise<void> {
  let result
  try {
    result = await client.query('commit')
  } catch (error) {
    if (isServerError(error)) throw error
    throw new UnknownOutcomeError(error)
  }
  // COMMIT of a failed transaction succeeds as ROLLBACK; taking it for durable would break the promise.
  if (result.command !== 'COMMIT') throw new Error(`PostgreSQL answered ${result.command} to COMMIT`)
}

async function execute<Row extends object> (client: PoolClient, query: CompiledQuery<unknown>) {
  return await client.query<Row>({ name: toStatementName(query.sql), text: query.sql, values: query.parameters as unknown[] })
}

const statementNames = new Map<string, string>()

/** Named statements are parsed and planned once a connection; there are as many texts as files in `queries/`. */
function toStatementName (text: string): string {
  let name = statementNames.get(text)
  if (name === undefined) {
    name = `vital_${statementNames.size + 1}`
    statementNames.set(text, name)
  }
  return name
}
