/**
 * Removes the data of one device from PostgreSQL while readings of other devices are written. The whole of an erasure,
 * with spool, broker and other gateways, is src/operations/erasure.ts.
 *
 * Readings go in chunks, each a transaction of its own: when a device resends a reading that is being deleted, its
 * batch waits for the deletion, and a batch that waits too long opens the circuit for all devices. The rest goes in one
 * last transaction, with the dead letters, the latest state and the line of the audit log.
 *
 * That transaction first takes the row of `latest`, or makes one where there is none: a batch writes readings first and
 * `latest` last, so from then on a batch that holds this device waits, and what it has written is invisible. Otherwise
 * a reading could be committed between two of our statements, and outlive its latest state or the other way round.
 * Before that it takes the turn of the roll-ups: a step that has read the device's readings would otherwise write its
 * averages after they were deleted.
 *
 * With Kafka, the device's newer records wait while it is being deleted, and records of other devices wait behind them.
 * So the rows are deleted first. Then the markers are written, and then the rows that were stored meanwhile go too.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Kysely, sql, type Transaction } from 'kysely'
import type { Logger } from 'pino'
import { createDatabase } from '../database.ts'
import { toAscii } from '../escaped-text.ts'
import { eraseNamedLetters } from './erase-named-letters.ts'
import { appendAuditLog } from '../queries/append-audit-log.ts'
import { type Consumer, selectConsumers } from '../queries/select-consumers.ts'
import { type Replication, selectReplication } from '../queries/select-replication.ts'
import { selectWriters } from '../queries/select-writers.ts'
import { takeTurn } from '../rollups/turn.ts'
import { StorageError } from '../storage-error.ts'
import type { Tables } from '../tables.ts'

/**
 * Readings in one transaction: some tens of milliseconds, far less than the time after which a batch goes to the spool.
 */
const CHUNK_ROWS = 5000
/** Leaves the disk to ingest between two chunks. */
const CHUNK_PAUSE_MS = 5

/** Longest wait for the transactions that are writing when an erasure begins. */
const WRITERS_WAIT_MAX_MS = 30_000
const WRITERS_POLL_MS = 50

const STATEMENT_TIMEOUT_MS = 60_000

/** Rows that were removed. */
export interface ErasedRows {
  readonly readings: number
  readonly latest: number
  readonly deadLetters: number
}

export interface EraseDeviceOptions {
  /** It takes one connection of its own, with longer time-outs than ingest has. */
  readonly connectionString: string
  readonly device: string
  /** For the audit log. */
  readonly actor: string
  /** The request that this carries out. Without one, no other process carries out the same erasure. */
  readonly request?: number | undefined
  /**
   * Makes records of the device that wait in Kafka older than the erasure.
   * @returns the id in `log_erasures`
   */
  readonly mark?: (() => Promise<number>) | undefined
  readonly logger: Logger
  /** Asked between two chunks. */
  readonly isStopping: () => boolean
}

/**
 * Removes a device's readings, dead letters and latest state. Safe to run again after it failed halfway.
 * @returns the rows that were removed, and the standby servers and readers of the log that have yet to remove theirs
 * @throws `VITAL_ERASURE_BUSY` when some transaction has held the tables for too long, or the gateway stops; or the
 *   error of pg
 */
export async function eraseDevice (
  options: EraseDeviceOptions
): Promise<ErasedRows & { readonly replication: Replication, readonly consumers: readonly Consumer[] }> {
  const { connectionString, device, actor, request, mark, logger } = options
  const { kysely, close } = createDatabase({
    connectionString,
    logger,
    poolSize: 1,
    statementTimeoutMs: STATEMENT_TIMEOUT_MS,
    queryTimeoutMs: STATEMENT_TIMEOUT_MS + 1000,
    applicationName: 'vital-gateway erase'
  })
  try {
    await awaitWriters(kysely)
    await appendAuditLog(kysely, { actor, act: 'erase.begin', target: device })
    let deleted = await deleteMost(kysely, options, { readings: 0, letters: 0, erasure: undefined })
    if (mark !== undefined) {
      deleted = { ...deleted, erasure: await mark() }
      await awaitWriters(kysely)
      deleted = await deleteMost(kysely, options, deleted)
    }
    const rest = await kysely.transaction().execute((transaction) => deleteRest(transaction, { device, actor, request, ...deleted }))
    return { ...rest, replication: await selectReplication(kysely), consumers: await selectConsumers(kysely) }
  } finally {
    await close()
  }
}

interface Deleted {
  readonly readings: number
  readonly letters: number
  /** Id in `log_erasures`, once it is there. */
  readonly erasure: number | undefined
}

async function deleteMost (kysely: Kysely<Tables>, options: EraseDeviceOptions, before: Deleted): Promise<Deleted> {
  const readings = before.readings + await deleteChunks(kysely, options, before.erasure)
  const letters = await eraseNamedLetters(kysely, options.device, () => { checkStop(options, readings) })
  return { ...before, readings, letters: before.letters + letters }
}

/** SQL that is false once another process has carried the erasure out: rows of the device stored after that are new. */
function isOpen ({ request }: Pick<EraseDeviceOptions, 'request'>, erasure: number | undefined) {
  if (request !== undefined) return sql<boolean>`exists (select from erasures where id = ${request} and deleted_at is null)`
  if (erasure === undefined) return sql<boolean>`true`
  return sql<boolean>`exists (select from log_erasures where id = ${erasure} and cleared_at is null)`
}

/**
 * Settles when every transaction that was writing readings or dead letters has ended: one that its gateway gave up on
 * may commit late. The transactions are polled and not locked out: a lock that excludes writers would also wait for
 * autovacuum, and every batch would wait behind that lock.
 */
async function awaitWriters (kysely: Kysely<Tables>): Promise<void> {
  const deadlineMs = performance.now() + WRITERS_WAIT_MAX_MS
  let writers = await selectWriters(kysely)
  while (writers.size > 0 && performance.now() < deadlineMs) {
    await sleep(WRITERS_POLL_MS)
    // Only the first set counts: transactions that began later write new rows.
    const now = await selectWriters(kysely)
    writers = new Set([...writers].filter((id) => now.has(id)))
  }
  if (writers.size === 0) return
  throw new StorageError('VITAL_ERASURE_BUSY', 'a transaction has been writing readings or dead letters all the ' +
    'time, so nothing was erased; pg_stat_activity shows which. Try again later.')
}

function checkStop ({ isStopping }: EraseDeviceOptions, deleted: number): void {
  if (isStopping()) {
    throw new StorageError('VITAL_ERASURE_BUSY',
    `the gateway stops; ${deleted} readings were erased so far. Run it again.`)
  }
}

async function deleteChunks (kysely: Kysely<Tables>, options: EraseDeviceOptions, erasure: number | undefined): Promise<number> {
  const { device } = options
  let deleted = 0
  for (;;) {
    checkStop(options, deleted)
    // By time and not by a list of rows, so that each chunk reads only the months that it lies in.
    const { numAffectedRows = 0n } = await sql`
      delete from readings where ${isOpen(options, erasure)} and device = ${device} and time <= (
        select time from readings where device = ${device} order by time offset ${CHUNK_ROWS - 1} limit 1)`.execute(kysely)
    if (numAffectedRows === 0n) return deleted
    deleted += Number(numAffectedRows)
    await sleep(CHUNK_PAUSE_MS)
  }
}

async function deleteRest (
  transaction: Transaction<Tables>,
  { device, actor, readings, letters, request, erasure }: Pick<EraseDeviceOptions, 'device' | 'actor' | 'request'> & Deleted & {
    readonly erasure: number | undefined
  }
): Promise<ErasedRows> {
  await takeTurn(transaction)
  for (const [table, id] of [['erasures', request], ['log_erasures', erasure]] as const) {
    if (id !== undefined) await sql`select from ${sql.table(table)} where id = ${id} for update`.execute(transaction)
  }
  const { rows: [open] } = await sql<{ isOpen: boolean }>`select ${isOpen({ request }, erasure)} as "isOpen"`.execute(transaction)
  if (open?.isOpen !== true) return { readings, latest: 0, deadLetters: letters }
  const { rows: [row] } = await sql<{ isMade: boolean }>`
    insert into latest (device, time, oldest_time, vitals, vital_times) values (${device}, now(), now(), '{}', '{}')
    on conflict (device) do update set device = excluded.device returning xmax = 0 as "isMade"`.execute(transaction)
  const count = async (statement: ReturnType<typeof sql>) => Number((await statement.execute(transaction)).numAffectedRows ?? 0n)
  const erased = {
    readings: readings + await count(sql`delete from readings where device = ${device}`),
    // A letter from an invalid topic belongs to this device when its client or a level of its topic names it.
    deadLetters: letters + await count(sql`
      delete from dead_letters where id in (select id from dead_letters where device in (${device}, ${toAscii(device)})
        or ((device is null or reason = 'invalid_topic') and (client_id = ${device}
          or ${device} in (select btrim(level) from unnest(string_to_array(topic, '/')) level)))
        order by id for update)`),
    latest: await count(sql`delete from latest where device = ${device}`) - (row?.isMade === true ? 1 : 0)
  }
  for (const table of ['rollups_5m', 'rollups_1h', 'rollup_late']) {
    await sql`delete from ${sql.table(table)} where device = ${device}`.execute(transaction)
  }
  if (request !== undefined) {
    await transaction.updateTable('erasures').set({ deleted_at: sql`now()` }).where('id', '=', request).execute()
  }
  if (erasure !== undefined) {
    await transaction.updateTable('log_erasures').set({ cleared_at: sql`now()` }).where('id', '=', erasure).execute()
  }
  await appendAuditLog(transaction, { actor, act: 'erase', target: device, details: erased })
  return erased
}
