/** Faults of the database layer that stop a start or need a person. A test compares them with the README of this folder. */
export const STORAGE_ERROR_CODES = [
  'VITAL_DATABASE_URL_INVALID',
  'VITAL_DATABASE_TOO_OLD',
  'VITAL_DATABASE_ENCODING',
  'VITAL_SCHEMA_NEWER',
  'VITAL_MIGRATION_FAILED',
  'VITAL_EMBEDDED_UNSUPPORTED_PLATFORM',
  'VITAL_EMBEDDED_ROOT_REFUSED',
  'VITAL_EMBEDDED_DATA_DIR',
  'VITAL_EMBEDDED_WRONG_VERSION',
  'VITAL_EMBEDDED_INITDB_FAILED',
  'VITAL_EMBEDDED_IN_USE',
  'VITAL_EMBEDDED_START_FAILED',
  'VITAL_EMBEDDED_STOP_FAILED',
  'VITAL_ERASURE_BUSY',
  'VITAL_BACKUP_FAILED'
] as const

export type StorageErrorCode = typeof STORAGE_ERROR_CODES[number]

/** A coded fault whose message says what was wrong, where, and what to do; it never holds a password. */
export class StorageError extends Error {
  override readonly name = 'StorageError'
  readonly code: StorageErrorCode

  constructor (code: StorageErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}
