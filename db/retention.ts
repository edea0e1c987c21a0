/**
 * Retention: removes readings, or roll-ups, whose time is older than a limit. Never `latest`, never dead letters,
 * which `src/ingest/dead-letter-caps.ts` bounds. Roll-ups of readings are final before these go (`rollups/sealing.ts`), so
 * averages outlive them.
 *
 * Months go whole, by DROP. It needs ACCESS EXCLUSIVE on `readings`, the month and the default partition, and every
 * later statement, ingest included, queues behind it while it waits. So it waits for each of the three for at most
 * `LOCK_TIMEOUT_MS`: as long as a slow batch takes, and far less than the time after which a batch goes to the spool.
 * Then it lets ingest pass and tries again. Once it has the locks it only changes the catalog: PostgreSQL unlinks the
 * files after it has released its locks (CommitTransaction in xact.c), so a large month blocks no longer than an empty
 * one.
 * Rejected: DETACH CONCURRENTLY, which takes a weaker lock, but is refused where there is a default partition; DETACH
 * and a later DROP, which locks the same and can leave an orphan in between.
 *
 * The default partition cannot go: its old rows are deleted in small batches, in physical order. Ingest waits for such
 * a deletion only where a row that is being deleted is sent again.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Kysely, sql } from 'kysely'
import type { Logger } from 'pino'
import { createDatabase } from './database.ts'
import { dropChunks, isHypertable } from './hypertable.ts'
import type { PartitionedTable } from './partitions.ts'
import { seal } from './rollups/sealing.ts'
import { toSqlState } from './sqlstate.ts'
import type { Tables } from './tables.ts'

const LOCK_TIMEOUT_MS = 100
/** With the pauses about 15 s, longer than most queries hold `readings`; then the next run has its turn. */
const LOCK_ATTEMPTS_MAX = 30
const LOCK_PAUSE_MS = 900

const DELETE_ROWS_MAX = 2000
/** Leaves the disk to ingest between two batches. */
const DELETE_PAUSE_MS = 20

/** Counting more rows than this would read for minutes; the planner's estimate is logged instead. */
const COUNT_ROWS_MAX = 1_000_000

/** Key of the advisory lock under which one gateway at a time does this; the one of partitions.ts plus one. */
const ADVISORY_LOCK = 0x766974616d

export interface RetentionOptions {
  /**
   * It takes two connections of its own, without timeouts: a scan of the default partition may last longer than any
   * query of the gateway.
   */
  readonly connectionString: string
  readonly table: PartitionedTable
  /** Rows older than this many days before `now` are removed; readings in whole hours. */
  readonly days: number
  readonly now: Date
  readonly logger: Logger
  /** Asked between two steps. */
  readonly isStopping: () => boolean
  /** Called after each COMMIT. */
  readonly onRemoved: (removed: Removed) => void
}

/**
 * Rows and partitions that were removed. A dropped partition counts with its rows, estimated where it was large.
 */
export interface Removed {
  readonly partitions: number
  readonly rows: number
}

interface Run extends RetentionOptions {
  readonly kysely: Kysely<Tables>
  /** Unix seconds; older rows are removed. */
  readonly cutoff: number
}

/**
 * Removes expired rows. May be called by several gateways at once: one removes them, and the others return at once.
 * @throws the error of pg
 */
export async function removeExpired (options: RetentionOptions): Promise<void> {
  const { connectionString, table, logger } = options
  const database = createDatabase({
    connectionString,
    logger,
    poolSize: 2,
    statementTimeoutMs: 0,
    queryTimeoutMs: 0,
    idleInTransactionTimeoutMs: 0,
    applicationName: 'vital-gateway retention'
  })
  try {
    // A transaction holds the lock and not a session, so that it holds behind a pooler too; it has no snapshot that
    // VACUUM would wait for. Should its connection break, a second gateway may begin: every step is safe to do twice.
    await database.kysely.transaction().execute(async (turn) => {
      const { rows: [row] } = await sql<{ isOurs: boolean }>`
        select pg_try_advisory_xact_lock(${sql.lit(ADVISORY_LOCK)}) as "isOurs"`.execute(turn)
      if (row?.isOurs !== true) return
      const cutoff = await toFinalCutoff(database.kysely, options)
      if (cutoff === null) {
        logger.info({ table }, 'retention waits for roll-ups that are still to be computed')
        return
      }
      const run = { ...options, kysely: database.kysely, cutoff }
      if (await isHypertable(database.kysely, table)) return await removeChunks(run)
      await dropPartitions(run)
      // Last, because a VACUUM after its deletions would hold up a DROP.
      await deleteFromDefault(run)
    })
  } finally {
    await database.close()
  }
}

/** @returns `null` while averages of readings that expire are still to be computed */
async function toFinalCutoff (kysely: Kysely<Tables>, options: RetentionOptions): Promise<number | null> {
  const cutoff = await toCutoff(kysely, options)
  return options.table === 'readings' ? await seal(kysely, cutoff, options.isStopping) : cutoff
}

/**
 * By the clock of the gateway or that of PostgreSQL, whichever is behind: a clock that is years ahead must not empty
 * the table.
 */
async function toCutoff (kysely: Kysely<Tables>, { now, days }: RetentionOptions): Promise<number> {
  const { rows: [row] } = await sql<{ cutoff: number }>`
    select extract(epoch from least(now(), ${now.toISOString()}::timestamptz) - make_interval(days => ${days}))::float8
      as cutoff`.execute(kysely)
  return row!.cutoff
}

async function dropPartitions (run: Run): Promise<void> {
  for (const partition of await findExpiredPartitions(run)) {
    if (run.isStopping()) return
    const count = await countRows(run, partition)
    if (!await dropPartition(run, partition)) continue
    run.onRemoved({ partitions: 1, rows: count.rows })
    run.logger.info({ partition: partition.name, ...count, days: run.days }, 'expired partition dropped')
  }
}

/** Drops chunks of a hypertable. Their rows are not counted, because a chunk may be compressed. */
async function removeChunks ({ kysely, table, cutoff, days, onRemoved, logger }: Run): Promise<void> {
  const chunks = await dropChunks(kysely, table, cutoff)
  if (chunks.length === 0) return
  onRemoved({ partitions: chunks.length, rows: 0 })
  logger.info({ chunks, days }, 'expired chunks dropped')
}

interface Partition {
  readonly oid: number
  readonly schema: string
  readonly name: string
  /** `-1` where PostgreSQL never counted. */
  readonly rowsEstimated: number
}

/** Oldest first. The default partition, and a bound of MAXVALUE, have no quoted end and do not match. */
async function findExpiredPartitions ({ kysely, table, cutoff }: Run): Promise<Partition[]> {
  const { rows } = await sql<Partition>`
    select oid, schema, name, "rowsEstimated" from (
      select pg_class.oid, nspname as schema, relname as name, reltuples::float8 as "rowsEstimated",
        substring(pg_get_expr(relpartbound, pg_class.oid) from $$TO [(]'([^']+)'[)]$$)::timestamptz as upper_bound
      from pg_inherits join pg_class on pg_class.oid = inhrelid join pg_namespace on pg_namespace.oid = relnamespace
      where inhparent = ${table}::regclass
    ) partitions
    where upper_bound <= to_timestamp(${cutoff})
    order by upper_bound`.execute(kysely)
  return rows
}

async function countRows (
  { kysely }: Run, { schema, name, rowsEstimated }: Partition
): Promise<{ rows: number, isEstimate: boolean }> {
  if (rowsEstimated > COUNT_ROWS_MAX) return { rows: rowsEstimated, isEstimate: true }
  const { rows: [row] } = await sql<{ count: number }>`select count(*) from ${sql.id(schema, name)}`.execute(kysely)
  return { rows: row!.count, isEstimate: false }
}

/** @returns whether this call dropped it; `false` leaves it to the next run */
async function dropPartition (run: Run, partition: Partition): Promise<boolean> {
  for (let attempt = 1; attempt <= LOCK_ATTEMPTS_MAX; attempt++) {
    try {
      return await tryDrop(run, partition)
    } catch (error) {
      // lock_not_available
      if (toSqlState(error) !== '55P03') throw error
    }
    await sleep(LOCK_PAUSE_MS * Math.random())
    if (run.isStopping()) return false
  }
  run.logger.warn({ partition: partition.name }, 'an expired partition could not be dropped, because something held ' +
    'its table all the time; trying again later. Long queries are the usual cause: see pg_stat_activity.')
  return false
}

async function tryDrop ({ kysely, table }: Run, { oid, schema, name }: Partition): Promise<boolean> {
  return await kysely.transaction().execute(async (transaction) => {
    await sql`set local lock_timeout = ${sql.lit(LOCK_TIMEOUT_MS)}`.execute(transaction)
    // A person may have detached it since we looked, to keep it.
    const { rows } = await sql`select from pg_inherits where inhparent = ${table}::regclass and inhrelid = ${oid}`.execute(transaction)
    if (rows.length === 0) return false
    await sql`drop table ${sql.id(schema, name)}`.execute(transaction)
    return true
  })
}

async function deleteFromDefault (run: Run): Promise<void> {
  let deleted = 0
  let after = '(0,0)'
  try {
    while (!run.isStopping()) {
      const batch = await deleteBatch(run, after)
      if (batch.last === null) break
      run.onRemoved({ partitions: 0, rows: batch.rows })
      deleted += batch.rows
      after = batch.last
      // Old readings that devices still send may come in as fast as they are deleted; they have time until the next
      // run.
      if (batch.rows < DELETE_ROWS_MAX) break
      await sleep(DELETE_PAUSE_MS)
    }
  } finally {
    if (deleted > 0) {
      run.logger.info({ partition: `${run.table}_default`, rows: deleted, days: run.days }, 'expired rows deleted')
    }
  }
}

/**
 * Each batch begins where the last one ended, because deleted rows stay in the way until VACUUM.
 * @param after - ctid, as text
 * @returns `last` is `null` when no row was left
 */
async function deleteBatch (
  { kysely, table, cutoff }: Run, after: string
): Promise<{ rows: number, last: string | null }> {
  const partition = sql.table(`${table}_default`)
  return await kysely.transaction().execute(async (transaction) => {
    // Otherwise a sequential scan may begin in the middle, and rows before that place would be passed over.
    await sql`set local synchronize_seqscans = off`.execute(transaction)
    // Locked rows are skipped: an erasure deletes in another order, and will delete the rows that it has locked.
    const { rows: [row] } = await sql<{ rows: number, last: string | null }>`
      with gone as (
        delete from ${partition} where ctid = any(array(
          select ctid from ${partition} where ctid > ${after}::tid and time < to_timestamp(${cutoff}) limit ${sql.lit(DELETE_ROWS_MAX)}
          for update skip locked))
        returning ctid)
      select count(*) as rows, max(ctid)::text as last from gone`.execute(transaction)
    return row!
  })
}
