import { setTimeout as sleep } from 'node:timers/promises'
import type { BridgeLimits } from './limits.ts'
import { UpstreamError } from './upstream-error.ts'

interface KeepConnectedOptions {
  /** Settles when a connection has ended. @throws UpstreamError unless the bridge closed it */
  readonly connectOnce: (onSubscribed: () => void) => Promise<void>
  readonly onFault: (error: UpstreamError) => void
  readonly limits: Pick<BridgeLimits, 'retryMsMin' | 'retryMsMax' | 'stableMs' | 'startWaitMs'>
  readonly signal: AbortSignal
}

/**
 * Connects, and connects again when a connection ends. Each wait is twice as long as the one before, minus up to half
 * by chance.
 */
export function keepConnected ({ connectOnce, onFault, limits, signal }: KeepConnectedOptions) {
  const { retryMsMin, retryMsMax, stableMs, startWaitMs } = limits
  let running: Promise<void> = Promise.resolve()

  /** @param onOutcome - called with the outcome of each attempt; `null`: subscribed */
  async function run (onOutcome: (error: UpstreamError | null) => void): Promise<void> {
    let failures = 0
    while (!signal.aborted) {
      let subscribedAtMs = Infinity
      try {
        await connectOnce(() => {
          subscribedAtMs = performance.now()
          onOutcome(null)
        })
      } catch (error) {
        if (signal.aborted) return
        if (!(error instanceof UpstreamError)) throw error
        onFault(error)
        onOutcome(error)
      }
      if (performance.now() - subscribedAtMs >= stableMs) failures = 0
      const waitMs = Math.min(retryMsMax, retryMsMin * 2 ** failures++) * (1 - Math.random() / 2)
      await sleep(waitMs, undefined, { signal }).catch(() => {})
    }
  }

  return {
    /**
     * Settles once it is subscribed, the first attempt has failed, or `startWaitMs` is over.
     * @throws UpstreamError that an operator must correct
     */
    async start (): Promise<void> {
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(resolve, startWaitMs)
        running = run((error) => {
          clearTimeout(timer)
          if (error?.isPermanent === true) reject(error)
          else resolve()
        })
        // A defect ends the process.
        running.catch((error: unknown) => { setImmediate(() => { throw error }) })
      })
    },
    /** Settles when the signal has ended the attempts. */
    ended: (): Promise<void> => running
  }
}
