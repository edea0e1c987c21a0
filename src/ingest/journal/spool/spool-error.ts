/**
 * Faults of the spool. `FULL` passes when space returns; `FAILED` when the disk works again; the others end the call.
 */
export const SPOOL_ERROR_CODES = [
  'VITAL_SPOOL_FULL',
  'VITAL_SPOOL_FAILED',
  'VITAL_SPOOL_IN_USE',
  'VITAL_SPOOL_CLOSED',
  'VITAL_SPOOL_UNDECODABLE'
] as const

export type SpoolErrorCode = typeof SPOOL_ERROR_CODES[number]

/** A coded fault. Its message states the fault, the place and the remedy, and never holds a payload. */
export class SpoolError extends Error {
  override readonly name = 'SpoolError'
  readonly code: SpoolErrorCode

  constructor (code: SpoolErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** No room on the file system, in the quota, or in the file. The error passes once space is freed. */
export function isSpaceError (error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG'
}

/** @returns a system error as `VITAL_SPOOL_FULL` or `VITAL_SPOOL_FAILED` */
export function toSpoolError (error: unknown, doing: string): SpoolError {
  if (error instanceof SpoolError) return error
  const { code, message } = error as NodeJS.ErrnoException
  return isSpaceError(error)
    ? new SpoolError('VITAL_SPOOL_FULL', `no space on disk while ${doing} (${code}): free some; no restart is ` +
      'needed', { cause: error })
    : new SpoolError('VITAL_SPOOL_FAILED', `the disk failed while ${doing} (${code ?? message})`, { cause: error })
}
