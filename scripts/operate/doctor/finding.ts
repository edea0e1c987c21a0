/**
 * The result of one check. `warn`: a gateway starts, and something weakens it. `FAIL`: it does not start, or cannot
 * keep its promise.
 */
export interface Finding {
  readonly check: string
  readonly status: 'ok' | 'warn' | 'FAIL'
  /** The state that was found. */
  readonly text: string
  /** What to do; `null`: nothing. */
  readonly advice: string | null
}

export const ok = (check: string, text: string): Finding => ({ check, status: 'ok', text, advice: null })
export const warn = (check: string, text: string, advice: string | null = null): Finding => ({ check, status: 'warn', text, advice })
export const fail = (check: string, text: string, advice: string | null = null): Finding => ({ check, status: 'FAIL', text, advice })

/** `1.5 GiB` */
export function toSize (bytes: number): string {
  return bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(1)} GiB` : `${Math.floor(bytes / 2 ** 20)} MiB`
}

export const toMessage = (error: unknown): string => error instanceof Error && error.message !== '' ? error.message : String(error)
