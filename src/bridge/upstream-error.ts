/** The broker, the network to it or the configuration is at fault. */
export class UpstreamError extends Error {
  /** Whether an operator must correct it; otherwise it may pass by itself. */
  readonly isPermanent: boolean

  constructor (message: string, { isPermanent = false, cause }: { readonly isPermanent?: boolean, readonly cause?: unknown } = {}) {
    super(message, { cause })
    this.name = 'UpstreamError'
    this.isPermanent = isPermanent
  }
}
