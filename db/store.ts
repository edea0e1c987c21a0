import type { CompiledQuery, Kysely } from 'kysely'
import type { Pool, PoolClient } from 'pg'
import { foldLatest } from './fold-latest.ts'
import { beginAndCopyReadings } from './queries/copy-readings.ts'
import { insertDeadLetters } from './queries/insert-dead-letters.ts'
import { insertReadings, toIdentity } from './queries/insert-readings.ts'
import { upsertLatest } from './queries/upsert-latest.ts'
import type { DeadLetterRow, ReadingRow } from './rows.ts'
import { isServerError, isUniqueViolation } from './sqlstate.ts'
import type { Tables } from './tables.ts'

/** What a committed batch did. */
export interface Written {
  /** Indexes into the batch's readings of those that were stored before, or twice in the batch. */
  readonly duplicates: readonly number[]
}

/** COMMIT was sent and its answer never came: the batch may be stored or not. Write it again; identities make that safe. */
export class UnknownOutcomeError extends Error {
  readonly code = 'VITAL_UNKNOWN_OUTCOME'
  constructor (cause: unknown) {
    super('the connection was lost during COMMIT, so it is unknown whether the batch is stored', { cause })
  }
}

/**
 * Writes batches into PostgreSQL: history, latest state and dead letters in one transaction.
 *
 * Optimistic: most batches hold nothing that is stored already, so history goes in by COPY. When PostgreSQL answers
 * 23505 (a redelivery), the transaction is rolled back and the batch goes in again by insert … on conflict.
 * `latest` comes last, so its row locks are held for the shortest time.
 */
export function createStore ({ pool, kysely }: { pool: Pool, kysely: Kysely<Tables> }) {
  /**
   * @returns after COMMIT: the batch is durable
   * @throws {@link UnknownOutcomeError}, or PostgreSQL's error with its SQLSTATE; then nothing of the batch is stored
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
      // After a server's error the transaction was rolled back and the connection is sound; after any other
      // (time-out, lost connection) it must never be used again.
      client.release(failure !== undefined && !isServerError(failure) ? failure : undefined)
    }
  }

  async function writeOn (client: PoolClient, readings: readonly ReadingRow[], letters: readonly DeadLetterRow[]) {
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

  async function insertNew (client: PoolClient, readings: readonly ReadingRow[]): Promise<Written> {
    await client.query('begin')
    const { rows } = await execute<{ identity: string }>(client, insertReadings(kysely, readings))
    const fresh = new Set(rows.map((row) => row.identity))
    const duplicates: number[] = []
    for (const [index, reading] of readings.entries()) {
      // The first of several equal readings in the batch is the one that was stored.
      if (!fresh.delete(toIdentity(reading))) duplicates.push(index)
    }
    return { duplicates }
  }

  return { write }
}

export type Store = ReturnType<typeof createStore>

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
