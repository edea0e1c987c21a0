/**
 * Months of `readings` and of the roll-ups, created ahead. ATTACH scans the default partition for rows of the month,
 * under a lock that all its writers wait for. So that scan must be short, or must have been made before:
 *
 *   default up to 16 MB ── ATTACH scans it, some 20 ms
 *   larger, at start ── nothing: there is time until the month begins
 *   larger, later ── CHECK that no row is of the month, NOT VALID ── VALIDATE, which scans without blocking writers
 *     ── ATTACH, which relies on the check
 *   larger, and the month has begun ── nothing: the check would refuse rows of the month. They stay in the default
 */
import { sql } from 'kysely'
import type { Logger } from 'pino'
import { createDatabase, type Database } from './database.ts'
import { isHypertable } from './hypertable.ts'
import { toSqlState } from './sqlstate.ts'

/**
 * Three months: a gateway may be down, or its clock wrong, for as long before readings go to the default partition.
 */
const MONTHS_AHEAD = 3

/** Ingest queues behind us while we wait for a lock on `readings`, so we wait no longer than a batch may take. */
const LOCK_TIMEOUT_MS = 1000

/** 28 million rows take 4 GB and many seconds. */
const SCANNED_BYTES_MAX = 16 * 1024 * 1024
const SCAN_TIMEOUT_MS = 2000
const DAY_MS = 86_400_000

/** Key of the advisory lock by which gateways take turns; any number that no other program uses ("vital" in ASCII). */
const ADVISORY_LOCK = 0x766974616c

/** Tables that are partitioned by month of their `time`. */
const TABLES = ['readings', 'rollups_5m', 'rollups_1h'] as const

export type PartitionedTable = typeof TABLES[number]

export interface PartitionsAhead {
  /** Partitions that were created now. */
  readonly created: readonly string[]
  /** Sentences for a person, one for each month that could not get a partition. */
  readonly warnings: readonly string[]
}

/**
 * {@link createPartitionsAhead} for every table, on a connection of its own: the scan of a large default partition may
 * last longer than any query of the gateway.
 * @throws as {@link createPartitionsAhead}
 */
export async function maintainPartitions (
  { connectionString, now, logger, isStart = false }: {
    connectionString: string
    now: Date
    logger: Logger
    isStart?: boolean
  }
): Promise<PartitionsAhead> {
  const database = createDatabase({
    connectionString,
    logger,
    poolSize: 1,
    statementTimeoutMs: 0,
    queryTimeoutMs: 0,
    applicationName: 'vital-gateway partitions'
  })
  try {
    const ahead = { created: new Array<string>(), warnings: new Array<string>() }
    for (const table of TABLES) {
      if (await isHypertable(database.kysely, table)) continue
      const { created, warnings } = await createPartitionsAhead({ database, table, now, logger, isStart })
      ahead.created.push(...created)
      ahead.warnings.push(...warnings)
    }
    return ahead
  } finally {
    await database.close()
  }
}

/**
 * Creates the partitions of the month of `now` and of the coming months. May be run again, and by several gateways at
 * once.
 *
 * A month cannot get a partition of its own while the default partition holds readings of it. These stay where they
 * are: every query finds them, and moving them would hold locks for as long as it takes.
 * @throws the error of pg; `55P03` lock_not_available means that a long transaction held `readings`: try again later
 */
export async function createPartitionsAhead (
  {
    database, table = 'readings', now, monthsAhead = MONTHS_AHEAD, logger, isStart = false,
    scannedBytesMax = SCANNED_BYTES_MAX
  }: {
    database: Database
    table?: PartitionedTable
    now: Date
    monthsAhead?: number
    logger: Logger
    isStart?: boolean
    scannedBytesMax?: number
  }
): Promise<PartitionsAhead> {
  const created: string[] = []
  const warnings: string[] = []
  for (let offset = 0; offset <= monthsAhead; offset++) {
    const month = toMonth(table, now, offset)
    if (await exists(database, month)) continue
    const isLarge = await sizeOfDefault(database, table) > scannedBytesMax
    const hasBegun = Date.parse(month.from) - DAY_MS <= now.getTime()
    if (isLarge && hasBegun) {
      await uncheck(database, month)
      const warning = `${month.partition} is not created: ${table}_default is large, and scanning it would ` +
        'block all writers. Readings of the month stay there. To move them, see "Partitions" in ' +
        'db/README.md.'
      warnings.push(warning)
      logger.warn({ partition: month.partition }, warning)
      continue
    }
    if (isLarge && isStart) continue
    try {
      if (isLarge) await checkDefault(database, month)
      if (await createPartition(database, month, isLarge)) created.push(month.partition)
    } catch (error) {
      if (isLarge) await uncheck(database, month)
      // check_violation: the scan of the default partition found a reading of this month.
      if (toSqlState(error) !== '23514') throw error
      const warning = `${table}_default holds rows from ${month.from} to ${month.to}, so ${month.partition} ` +
        'cannot be created; they stay where they are. To move them, see "Partitions" in db/README.md.'
      warnings.push(warning)
      logger.warn({ partition: month.partition }, warning)
    }
  }
  if (created.length > 0) logger.info({ partitions: created }, 'partitions created')
  return { created, warnings }
}

interface Month {
  readonly table: PartitionedTable
  readonly partition: string
  /** Inclusive, as PostgreSQL reads it. */
  readonly from: string
  /** Exclusive. */
  readonly to: string
}

function toMonth (table: PartitionedTable, now: Date, offset: number): Month {
  const start = (months: number) => new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() +
    months, 1)).toISOString().slice(0, 10)
  const from = start(offset)
  return {
    table,
    partition: `${table}_${from.slice(0, 7).replace('-', '_')}`,
    from: `${from} 00:00:00+00`,
    to: `${start(offset + 1)} 00:00:00+00`
  }
}

/**
 * Does not use to_regclass: that may answer from the backend's cache, which does not hear of other sessions during a
 * transaction.
 */
async function exists (
  { kysely }: Pick<Database, 'kysely'>, { table, partition }: Pick<Month, 'table' | 'partition'>
): Promise<boolean> {
  const { rows } = await sql`select from pg_inherits join pg_class on pg_class.oid = inhrelid
    where inhparent = ${table}::regclass and relname = ${partition}`.execute(kysely)
  return rows.length > 0
}

/**
 * Created apart and then attached, because `create table … partition of` would lock `readings` against all readers and
 * writers, and ATTACH only against other DDL. It still locks the default partition, and scans it.
 */
async function createPartition (
  database: Database, month: Month, isChecked: boolean
): Promise<boolean> {
  const { table, partition, from, to } = month
  return await database.kysely.transaction().execute(async (transaction) => {
    await sql`set local lock_timeout = ${sql.lit(LOCK_TIMEOUT_MS)}`.execute(transaction)
    await sql`set local statement_timeout = ${sql.lit(SCAN_TIMEOUT_MS)}`.execute(transaction)
    await sql`select pg_advisory_xact_lock(${sql.lit(ADVISORY_LOCK)})`.execute(transaction)
    if (await exists({ kysely: transaction }, month)) return false
    await sql`create table ${sql.table(partition)} (like ${sql.table(table)} including all)`.execute(transaction)
    await sql`comment on table ${sql.table(partition)} is ${sql.lit(`Rows of ${table} from ${from} to ${to}.`)}`.execute(transaction)
    await sql`
      alter table ${sql.table(table)} attach partition ${sql.table(partition)}
      for values from (${sql.lit(from)}) to (${sql.lit(to)})`.execute(transaction)
    if (isChecked) {
      await sql`alter table ${defaultOf(table)} drop constraint if exists ${sql.id(toCheckName(month))}`.execute(transaction)
    }
    return true
  })
}

const defaultOf = (table: PartitionedTable) => sql.table(`${table}_default`)

async function sizeOfDefault ({ kysely }: Database, table: PartitionedTable): Promise<number> {
  const { rows: [row] } = await sql<{ bytes: number }>`
    select pg_relation_size(${`${table}_default`}::regclass) as bytes`.execute(kysely)
  return row!.bytes
}

/** Also in sqlstate.ts: a batch that such a check refuses is retried. */
const toCheckName = ({ table, partition }: Month) => partition.replace(`${table}_`, `${table}_default_not_`)

/** Leaves a validated check behind. @throws `23514` where a row is of the month */
async function checkDefault ({ kysely }: Database, month: Month): Promise<void> {
  const { from, to } = month
  const table = defaultOf(month.table)
  const name = sql.id(toCheckName(month))
  await kysely.transaction().execute(async (transaction) => {
    await sql`set local lock_timeout = ${sql.lit(LOCK_TIMEOUT_MS)}`.execute(transaction)
    await sql`alter table ${table} drop constraint if exists ${name}`.execute(transaction)
    await sql`
      alter table ${table} add constraint ${name}
      check (time < ${sql.lit(from)} or time >= ${sql.lit(to)}) not valid`.execute(transaction)
  })
  await sql`alter table ${table} validate constraint ${name}`.execute(kysely)
}

async function uncheck ({ kysely }: Database, month: Month): Promise<void> {
  const table = `${month.table}_default`
  const name = toCheckName(month)
  // Looked up first, because DROP takes its lock even where there is nothing to drop.
  const { rows } = await sql`select from pg_constraint where conrelid = ${table}::regclass and conname = ${name}`.execute(kysely)
  if (rows.length === 0) return
  await kysely.transaction().execute(async (transaction) => {
    await sql`set local lock_timeout = ${sql.lit(LOCK_TIMEOUT_MS)}`.execute(transaction)
    await sql`alter table ${sql.table(table)} drop constraint if exists ${sql.id(name)}`.execute(transaction)
  })
}
