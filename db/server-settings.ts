import type { Pool } from 'pg'
import { StorageError } from './storage-error.ts'

/** Oldest major version that the schema and the queries are tested with. */
const MAJOR_VERSION_MIN = 14

/**
 * Checks the server's settings against the promise that acknowledged means stored.
 * @returns one sentence for each weakness, for people; empty when there is none
 * @throws `VITAL_DATABASE_TOO_OLD`, `VITAL_DATABASE_ENCODING`; the error of pg when the database cannot be reached
 */
export async function readServerWarnings (pool: Pool): Promise<string[]> {
  const { rows } = await pool.query<{ name: string, setting: string }>(
    `select name, setting from pg_settings
     where name in ('server_version_num', 'server_version', 'fsync', 'full_page_writes', 'server_encoding')`)
  const settings = new Map(rows.map(({ name, setting }) => [name, setting]))

  if (Math.floor(Number(settings.get('server_version_num')) / 10_000) < MAJOR_VERSION_MIN) {
    throw new StorageError('VITAL_DATABASE_TOO_OLD',
      `The server at DATABASE_URL is PostgreSQL ${settings.get('server_version')}, the gateway needs ` +
      `${MAJOR_VERSION_MIN} or later. Upgrade it, or unset DATABASE_URL to use the embedded PostgreSQL.`)
  }
  if (settings.get('server_encoding') !== 'UTF8') {
    throw new StorageError('VITAL_DATABASE_ENCODING',
      `The database at DATABASE_URL is encoded in ${settings.get('server_encoding')}, which cannot hold every ` +
      'reading. Create one with: create database vital encoding \'UTF8\' template template0; and name it in ' +
      'DATABASE_URL.')
  }
  const warnings: string[] = []
  if (settings.get('fsync') === 'off') {
    warnings.push('PostgreSQL runs with fsync off: a power loss can destroy acknowledged readings. Set fsync = on.')
  }
  if (settings.get('full_page_writes') === 'off') {
    warnings.push('PostgreSQL runs with full_page_writes off: a power loss can corrupt its tables, unless the file ' +
      'system writes pages whole. Set full_page_writes = on.')
  }
  return warnings
}
