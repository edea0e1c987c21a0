/**
 * A physical base backup over one connection. It does the work of pg_basebackup, which npm's binaries lack.
 *
 *   slot ──> pg_backup_start ── files are copied while they change ──> pg_backup_stop ── log copied ──> slot gone
 *
 * One connection is held for all of it. PostgreSQL ends the backup when that connection ends, and the slot is a
 * temporary one: it ends with the connection too, and none survives a crash of the server. So a tool that is killed
 * leaves nothing behind that keeps the log from being removed. A tool that is stopped and never continued is bounded
 * by `max_slot_wal_keep_size` (settings.ts).
 *
 * Rejected: a permanent slot, which a killed tool would leave behind; `archive_mode`, which needs a restart and a place
 * for the files; the replication protocol's BASE_BACKUP, because pg cannot read its stream of tar parts.
 */
import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import { StorageError } from '../storage-error.ts'

const CONNECT_TIMEOUT_MS = 5000
const SEGMENT_NAME = /^[0-9A-F]{24}$/
/** The name of a segment begins with its timeline. */
const TIMELINE_DIGITS = 8

interface Lsn {
  readonly lsn: string
}

/** Content that must be written into the copy beside the files. */
export interface BackupEnd {
  /** Content of `backup_label`, without which the copy would be recovered from the wrong place. */
  readonly label: string
  readonly startLsn: string
  readonly stopLsn: string
  /** Names of the files of `pg_wal` that recovery needs. They are kept until {@link BaseBackup.close}. */
  readonly walFiles: readonly string[]
}

/** Rows when the backup began, by table. Readings that are received meanwhile come on top. */
export interface RowCounts {
  /** Partition → rows. */
  readonly readings: Readonly<Record<string, number>>
  readonly latest: number
  readonly deadLetters: number
  /** Rows deleted from those tables since PostgreSQL's statistics began. */
  readonly deleted: number
}

/**
 * Begins a backup of the cluster that listens at `connectionString`.
 * @returns once PostgreSQL has written a checkpoint; files may be copied from then on
 * @throws `VITAL_BACKUP_FAILED`; the error of pg
 */
export async function startBaseBackup (options: { connectionString: string, clusterDir: string, label: string }) {
  const { connectionString, clusterDir, label } = options
  const client = new pg.Client({
    connectionString, connectionTimeoutMillis: CONNECT_TIMEOUT_MS, application_name: 'vital backup', keepAlive: true
  })
  let lost: Error | null = null
  client.on('error', (error) => { lost = error })
  await client.connect()
  try {
    await client.query('set statement_timeout = 0; set idle_session_timeout = 0; set lock_timeout = 0')
    await assertNoTablespaces(client)
    const { rows: [server] } = await client.query<{ version: string, major: number }>(
      `select current_setting('server_version') as version,
        current_setting('server_version_num')::int / 10000 as major`)
    // Reserved at once: the log must not be removed between the checkpoint and the slot's first use.
    const slot = `vital_backup_${randomBytes(6).toString('hex')}`
    await client.query('select pg_create_physical_replication_slot($1, true, true)', [slot])
    const { rows: [start] } = await client.query<Lsn>('select pg_backup_start($1, true)::text as lsn', [label])
    return {
      version: server!.version,
      major: server!.major,

      /** @throws `VITAL_BACKUP_FAILED` when the connection is gone, and with it the backup */
      assertAlive (): void {
        if (lost !== null) {
          throw new StorageError('VITAL_BACKUP_FAILED',
            `PostgreSQL ended the backup: ${lost.message}`, { cause: lost })
        }
      },

      /**
       * Ends the copy of the files. All that was committed before the call is in the backup.
       * @throws `VITAL_BACKUP_FAILED`; the error of pg
       */
      async stop (): Promise<BackupEnd> {
        // pg_backup_stop also switches to another file of the log, so that the last one needed is complete.
        const { rows: [stop] } = await client.query<Record<'lsn' | 'label' | 'first' | 'last' | 'bytes', string>>(`
          select lsn::text, labelfile as label, pg_walfile_name($1::pg_lsn) as first, pg_walfile_name(lsn) as last,
            pg_size_bytes(current_setting('wal_segment_size'))::text as bytes from pg_backup_stop(false)`, [start!.lsn])
        const { lsn, label, first, last, bytes } = stop!
        const walFiles = await listWal(clusterDir, { first, last, bytes: Number(bytes) })
        return { label, startLsn: start!.lsn, stopLsn: lsn, walFiles }
      },

      /** Gives up the slot, and the backup if it was not stopped. */
      async close (): Promise<void> {
        await client.end().catch(() => { /* It is gone, and the slot with it. */ })
      }
    }
  } catch (error) {
    await client.end().catch(() => {})
    throw error
  }
}

export type BaseBackup = Awaited<ReturnType<typeof startBaseBackup>>

/** Tablespaces lie outside of the cluster's directory, and their links in the copy would point into the original. */
async function assertNoTablespaces (client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ spcname: string }>(
    'select spcname from pg_tablespace where spcname not like \'pg\\_%\'')
  if (rows.length === 0) return
  throw new StorageError('VITAL_BACKUP_FAILED',
    `the tablespaces ${rows.map(({ spcname }) => spcname).join(', ')} lie outside of the data directory, ` +
    'and this backup cannot hold them. Move their tables to pg_default, or use pg_basebackup.')
}

/** @throws `VITAL_BACKUP_FAILED` when one is missing */
async function listWal (
  clusterDir: string, { first, last, bytes }: { first: string, last: string, bytes: number }
): Promise<string[]> {
  const toNumber = (name: string) => Number.parseInt(name.slice(TIMELINE_DIGITS, 16), 16) * (0x100000000 / bytes) +
    Number.parseInt(name.slice(16), 16)
  const names = await readdir(join(clusterDir, 'pg_wal'))
  const timeline = last.slice(0, TIMELINE_DIGITS)
  const files = names.filter((name) => SEGMENT_NAME.test(name) && name.startsWith(timeline) &&
    toNumber(name) >= toNumber(first) && toNumber(name) <= toNumber(last))
  if (files.length !== toNumber(last) - toNumber(first) + 1) {
    throw new StorageError('VITAL_BACKUP_FAILED',
      `PostgreSQL removed some of its log from ${first} to ${last} while the backup ran, ` +
      'for it had become longer than max_slot_wal_keep_size. ' +
      'Run it again when less is written, or onto a faster disk, or raise that setting with ALTER SYSTEM.')
  }
  return [...files, ...names.filter((name) => /^[0-9A-F]{8}\.history$/.test(name))]
}

/**
 * Counts rows, each partition in a statement of its own: one snapshot over all of them would keep PostgreSQL from
 * reclaiming the old versions of `latest` for minutes.
 */
export async function countRows (connectionString: string): Promise<RowCounts> {
  return await withClient(connectionString, async (client) => {
    const count = async (table: string) => {
      const { rows: [row] } = await client.query<{ n: string }>(`select count(*) as n from ${table}`)
      return Number(row!.n)
    }
    const { rows: partitions } = await client.query<{ name: string }>(
      'select inhrelid::regclass::text as name from pg_inherits where inhparent = \'readings\'::regclass order by 1')
    const readings: Record<string, number> = {}
    for (const { name } of partitions) {
      // Retention may drop it between the two statements.
      const rows = await count(name).catch((error: pg.DatabaseError) => {
        if (error.code === '42P01') return null
        throw error
      })
      if (rows !== null) readings[name] = rows
    }
    const deleted = await queryDeleted(client)
    return { readings, latest: await count('latest'), deadLetters: await count('dead_letters'), deleted }
  })
}

/** Rows deleted since PostgreSQL's statistics began. */
export async function countDeleted (connectionString: string): Promise<number> {
  return await withClient(connectionString, queryDeleted)
}

export function sumReadings ({ readings }: RowCounts): number {
  return Object.values(readings).reduce((sum, rows) => sum + rows, 0)
}

async function queryDeleted (client: pg.Client): Promise<number> {
  const { rows: [row] } = await client.query<{ n: string }>(`
    select coalesce(sum(n_tup_del), 0) as n from pg_stat_user_tables
    where relname like 'readings%' or relname in ('latest', 'dead_letters')`)
  return Number(row!.n)
}

async function withClient<T> (connectionString: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({
    connectionString, connectionTimeoutMillis: CONNECT_TIMEOUT_MS, application_name: 'vital backup'
  })
  client.on('error', () => { /* The queries reject with it. */ })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end().catch(() => {})
  }
}
