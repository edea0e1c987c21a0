/**
 * Faults of the database layer that stop a start or need a person, and when each occurs. `npm run docs` writes the
 * table.
 */
export const STORAGE_ERRORS = {
  VITAL_DATABASE_URL_INVALID: 'the connection string cannot be read',
  VITAL_DATABASE_TOO_OLD: 'PostgreSQL before 14',
  VITAL_DATABASE_ENCODING: 'a database that is not encoded in UTF8',
  VITAL_SCHEMA_NEWER: 'a newer gateway has migrated the database',
  VITAL_MIGRATION_FAILED: 'a migration was refused and rolled back',
  VITAL_EMBEDDED_UNSUPPORTED_PLATFORM: 'no binaries for this platform, or they do not run',
  VITAL_EMBEDDED_ROOT_REFUSED: 'started as root, and no other account can run PostgreSQL here',
  VITAL_EMBEDDED_DATA_DIR: 'the data directory cannot be used, or holds something else',
  VITAL_EMBEDDED_WRONG_VERSION: 'the data belongs to another major version',
  VITAL_EMBEDDED_INITDB_FAILED: 'the cluster could not be created',
  VITAL_EMBEDDED_IN_USE: 'another gateway runs the server of this directory',
  VITAL_EMBEDDED_START_FAILED: 'the server ended while starting, or refuses the gateway',
  VITAL_EMBEDDED_STOP_FAILED: 'the server does not end even when killed',
  VITAL_ERASURE_BUSY: 'a device cannot be erased now: readings wait in the spool, or a transaction holds the tables',
  VITAL_BACKUP_FAILED: 'a backup cannot be taken, or was ended by PostgreSQL',
  VITAL_ROLLUPS_SEALED: 'averages cannot be computed again, because retention removed the readings'
} as const

export type StorageErrorCode = keyof typeof STORAGE_ERRORS

/** A coded fault whose message says what was wrong, where, and what to do; it never holds a password. */
export class StorageError extends Error {
  override readonly name = 'StorageError'
  readonly code: StorageErrorCode

  constructor (code: StorageErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}
