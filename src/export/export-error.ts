/**
 * A time-series database did not take a write. The message is logged, so it names neither a device nor a value.
 * - `VITAL_EXPORT_REFUSED`: a line is at fault, and will never be taken.
 * - `VITAL_EXPORT_TOO_LARGE`: fewer lines at a time may be taken.
 * - `VITAL_EXPORT_AWAY`: the database or the network is at fault, not the lines.
 */
export class ExportError extends Error {
  readonly code: 'VITAL_EXPORT_REFUSED' | 'VITAL_EXPORT_TOO_LARGE' | 'VITAL_EXPORT_AWAY'

  constructor (message: string, code: ExportError['code'] = 'VITAL_EXPORT_AWAY', options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}
