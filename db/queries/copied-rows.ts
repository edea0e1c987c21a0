/**
 * Rows of `latest` as a copy of that table keeps them, and the version that tells the copy which of two rows is newer.
 *
 * The version is the end of the write-ahead log, read under the lock of the row: the next transaction that changes the
 * row gets the lock only after this transaction's COMMIT is in the log. So the version grows with each change of a
 * device, also over an erasure, and needs no column and no sequence.
 */
import { type Kysely, sql } from 'kysely'
import { GATEWAY_NAMES } from '../gateway-names.ts'
import type { Tables } from '../tables.ts'

/** The fields that a copy keeps of a device. */
export interface CopiedRow {
  readonly device: string
  /** Unix microseconds. */
  readonly time: string
  /** Empty: no value. */
  readonly heart: string
  readonly breath: string
  /** `vitals`, a line break, and `vital_times`, both as JSON; the line break alone where they are large. */
  readonly rest: string
}

export interface VersionedRow extends CopiedRow {
  /** Bytes of the write-ahead log. */
  readonly version: string
}

/**
 * Bytes of `vitals` and `vital_times` of a row that is copied whole. With an id of 128 characters such a row stays below
 * the 2,032 bytes from which PostgreSQL compresses, so that a row that was just written and one that was read are alike.
 */
const SMALL_BYTES_MAX = 1400

const VERSION = sql`(pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::text as version`

/** Columns of the alias `l`. */
const COPIED_COLUMNS = sql`
  l.device, (extract(epoch from l.time) * 1000000)::int8::text as time,
  coalesce(l.heart_rate::text, '') as heart, coalesce(l.breath_rate::text, '') as breath,
  case when pg_column_size(l.vitals) + pg_column_size(l.vital_times) <= ${sql.lit(SMALL_BYTES_MAX)}
    and pg_column_compression(l.vitals) is null and pg_column_compression(l.vital_times) is null
    then l.vitals::text || chr(10) || l.vital_times::text else chr(10) end as rest`

/** Appended to the upsert of `latest`; {@link toVersionedRow} reads it. */
export const RETURNING_COPIED = sql`returning ${VERSION}, ${COPIED_COLUMNS}`

/** Columns that {@link RETURNING_COPIED} returns. */
const RETURNED = 6

/** @returns `null` for a row of another statement of the batch */
export function toVersionedRow (row: ReadonlyArray<string | null>): VersionedRow | null {
  if (row.length !== RETURNED) return null
  const [version = '', device = '', time = '', heart = '', breath = '', rest = ''] = row as readonly string[]
  return { version, device, time, heart, breath, rest }
}

/** The next `count` rows by key. */
export async function selectCopiedRows (kysely: Kysely<Tables>, after: string, count: number): Promise<readonly CopiedRow[]> {
  const { rows } = await sql<CopiedRow>`
    select ${COPIED_COLUMNS} from latest l where l.device > ${after} order by l.device limit ${count}`.execute(kysely)
  return rows
}

/** The rows of some devices in `latest`, with versions. */
export interface LockedRows {
  readonly rows: readonly VersionedRow[]
  /** Devices that it does not hold. */
  readonly absent: ReadonlyArray<{ readonly device: string, readonly version: string }>
  /** Devices that other transactions were writing; they have to be asked for again. */
  readonly busy: readonly string[]
}

/** Longest wait for a device that another transaction is inserting: the devices behind it wait too. */
const LOCK_TIMEOUT = '100ms'

/**
 * Reads rows under their locks, without waiting for locks that others hold. Where there is no row, one is inserted and
 * rolled back, because only that keeps other transactions from inserting it meanwhile.
 * @throws the error of pg; 55P03 when another transaction is just inserting a device
 */
export async function lockCopiedRows (kysely: Kysely<Tables>, devices: readonly string[]): Promise<LockedRows> {
  const { rows } = await sql<VersionedRow>`
    with locked as materialized (
      select * from latest l where l.device = any(${devices}::text[]) order by l.device for share skip locked
    )
    select ${VERSION}, ${COPIED_COLUMNS} from locked l`.execute(kysely)
  const found = new Set(rows.map(({ device }) => device))
  const missing = devices.filter((device) => !found.has(device))
  if (missing.length === 0) return { rows, absent: [], busy: [] }
  const { rows: there } = await sql<{ device: string }>`
    select device from latest where device = any(${missing}::text[])`.execute(kysely)
  const busy = there.map(({ device }) => device)
  const gone = missing.filter((device) => !busy.includes(device))
  const absent = gone.length === 0 ? [] : await lockAbsence(kysely, gone)
  return { rows, absent, busy: [...busy, ...gone.filter((device) => !absent.some((row) => row.device === device))] }
}

class RolledBack extends Error {}

async function lockAbsence (kysely: Kysely<Tables>, devices: readonly string[]): Promise<LockedRows['absent']> {
  let absent: LockedRows['absent'] = []
  try {
    await kysely.transaction().execute(async (transaction) => {
      await sql`set local lock_timeout = ${sql.lit(LOCK_TIMEOUT)}`.execute(transaction)
      const { rows } = await sql<{ device: string, version: string }>`
        insert into latest as l (device, time, oldest_time, vitals, vital_times)
        select device, 'epoch', 'epoch', '{}', '{}' from unnest(${devices}::text[]) device order by device collate "C"
        on conflict do nothing
        returning ${VERSION}, l.device`.execute(transaction)
      absent = rows
      throw new RolledBack()
    })
  } catch (error) {
    if (!(error instanceof RolledBack)) throw error
  }
  return absent
}

/** State of the PostgreSQL that is copied. */
export interface CopyOrigin {
  /** Names of the gateways that are connected. */
  readonly gateways: readonly string[]
  /** Where the log ends: no version is larger. */
  readonly version: number
  /** How many rows `latest` has. */
  readonly devices: number
  /** The same for one database of one cluster of PostgreSQL. */
  readonly origin: string
}

export async function selectCopyOrigin (kysely: Kysely<Tables>): Promise<CopyOrigin> {
  const { rows: [row] } = await sql<CopyOrigin>`
    select array(select distinct application_name from pg_stat_activity
        where datname = current_database() and application_name ~ ${GATEWAY_NAMES}) as gateways,
      (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::float8 as version,
      (select coalesce(sum(devices), 0)::float8 from device_counts) as devices,
      system_identifier || '/' || (select oid from pg_database where datname = current_database()) as origin
    from pg_control_system()`.execute(kysely)
  return row!
}

/** Which of these processes of the server still run a statement for the gateway. */
export async function selectBusyBackends (kysely: Kysely<Tables>, gateway: string, pids: readonly number[]): Promise<ReadonlySet<number>> {
  const { rows } = await sql<{ pid: number }>`
    select pid from pg_stat_activity
    where pid = any(${pids}::int[]) and application_name = ${gateway} and state is distinct from 'idle'
      and pid <> pg_backend_pid()`.execute(kysely)
  return new Set(rows.map(({ pid }) => pid))
}
