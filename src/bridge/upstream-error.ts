/** The broker, or the way to it, is at fault. */
export class UpstreamError extends Error {
  /** Waiting does not correct it: an operator has to. */
  readonly isPermanent: boolean

  constructor (message: string, { isPermanent = false, cause }: { readonly isPermanent?: boolean, readonly cause?: unknown } = {}) {
    super(message, { cause })
    this.name = 'UpstreamError'
    this.isPermanent = isPermanent
  }
}
