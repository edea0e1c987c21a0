import { sql } from 'kysely'
import type { Logger } from 'pino'
import type { Database } from './database.ts'
import { toSqlState } from './sqlstate.ts'

/** Three months: a gateway may be down, or its clock wrong, for as long, before readings lie in the default partition. */
const MONTHS_AHEAD = 3

/** Ingest queues behind us while we wait for a lock on `readings`, so we wait no longer than a batch may take. */
const LOCK_TIMEOUT_MS = 1000

/** Key of the advisory lock under which gateways take turns; any number that nobody else uses ("vital" in ASCII). */
const ADVISORY_LOCK = 0x766974616c

export interface PartitionsAhead {
  /** Partitions that were created now. */
  readonly created: readonly string[]
  /** Months that could not get one, told to a person. */
  readonly warnings: readonly string[]
}

/**
 * Creates the partitions of the month of `now` and of the coming months. May be run again, and by several gateways at
 * once.
 *
 * A month of which the default partition holds readings already cannot get a partition of its own. They stay there:
 * they are found by every query all the same, and moving them would hold locks for as long as it takes.
 * @throws the error of pg; `55P03` lock_not_available means that a long transaction held `readings`: try again later
 */
export async function createPartitionsAhead (
  { database, now, monthsAhead = MONTHS_AHEAD, logger }: { database: Database, now: Date, monthsAhead?: number, logger: Logger }
): Promise<PartitionsAhead> {
  const created: string[] = []
  const warnings: string[] = []
  for (let offset = 0; offset <= monthsAhead; offset++) {
    const month = toMonth(now, offset)
    if (await exists(database, month.partition)) continue
    try {
      if (await createPartition(database, month)) created.push(month.partition)
    } catch (error) {
      // check_violation: the scan of the default partition found a reading of this month.
      if (toSqlState(error) !== '23514') throw error
      const warning = `readings_default holds readings from ${month.from} to ${month.to}, so ${month.partition} cannot be created; ` +
        'they stay where they are. To move them, see "Partitions" in db/README.md.'
      warnings.push(warning)
      logger.warn({ partition: month.partition }, warning)
    }
  }
  if (created.length > 0) logger.info({ partitions: created }, 'partitions created')
  return { created, warnings }
}

interface Month {
  readonly partition: string
  /** Inclusive, as PostgreSQL reads it. */
  readonly from: string
  /** Exclusive. */
  readonly to: string
}

function toMonth (now: Date, offset: number): Month {
  const start = (months: number) => new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + months, 1)).toISOString().slice(0, 10)
  const from = start(offset)
  return {
    partition: `readings_${from.slice(0, 7).replace('-', '_')}`,
    from: `${from} 00:00:00+00`,
    to: `${start(offset + 1)} 00:00:00+00`
  }
}

/** Not by to_regclass: that may answer from the backend's cache, which does not hear of other sessions in mid-transaction. */
async function exists ({ kysely }: Pick<Database, 'kysely'>, partition: string): Promise<boolean> {
  const { rows } = await sql`select from pg_inherits join pg_class on pg_class.oid = inhrelid
    where inhparent = 'readings'::regclass and relname = ${partition}`.execute(kysely)
  return rows.length > 0
}

/**
 * Created apart and then attached, because `create table … partition of` would lock `readings` against all readers and
 * writers, and ATTACH only against other DDL. It still locks the default partition, and scans it.
 */
async function createPartition (database: Database, { partition, from, to }: Month): Promise<boolean> {
  return await database.kysely.transaction().execute(async (transaction) => {
    await sql`set local lock_timeout = ${sql.lit(LOCK_TIMEOUT_MS)}`.execute(transaction)
    await sql`select pg_advisory_xact_lock(${sql.lit(ADVISORY_LOCK)})`.execute(transaction)
    if (await exists({ kysely: transaction }, partition)) return false
    await sql`create table ${sql.table(partition)} (like readings including all)`.execute(transaction)
    await sql`comment on table ${sql.table(partition)} is ${sql.lit(`Readings from ${from} to ${to}.`)}`.execute(transaction)
    await sql`alter table readings attach partition ${sql.table(partition)} for values from (${sql.lit(from)}) to (${sql.lit(to)})`
      .execute(transaction)
    return true
  })
}
