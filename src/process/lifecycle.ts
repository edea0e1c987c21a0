/**
 * Start and stop of the gateway. A stop may come at any stage of a start: it ends the waits of the start first, and
 * then, in reverse order, everything that the start had begun by then. Nothing begins after it.
 */

/** The reason of a start that ended because the stop came first. */
class StartStopped extends Error {
  override readonly name = 'StartStopped'
}

export interface Lifecycle {
  /** Aborted by the stop. Every wait during the start listens to it. */
  readonly signal: AbortSignal
  readonly isStopping: boolean
  /** Called during the stop, the last one first. */
  onStop (end: () => Promise<void> | void): void
  /** Runs the start once; when it fails, what it had begun is ended first. @throws the error of the start */
  start<T> (parts: () => Promise<T>): Promise<T>
  /**
   * May be called again, and before the start has ended. Settles when everything has ended. An end that fails does not
   * keep the others from being run.
   * @throws the first error of them
   */
  stop (): Promise<void>
}

export function createLifecycle (): Lifecycle {
  const stopping = new AbortController()
  const ends: Array<() => Promise<void> | void> = []
  let started: Promise<unknown> = Promise.resolve()
  let stopped: Promise<void> | undefined

  function stop (): Promise<void> {
    stopping.abort(new StartStopped('the gateway stops'))
    stopped ??= (async () => {
      await started
      const errors: unknown[] = []
      for (const end of ends.reverse()) {
        try {
          await end()
        } catch (error) {
          errors.push(error)
        }
      }
      if (errors.length > 0) throw errors[0]
    })()
    return stopped
  }

  return {
    signal: stopping.signal,
    get isStopping () { return stopping.signal.aborted },
    onStop: (end) => { ends.push(end) },
    async start (parts) {
      stopping.signal.throwIfAborted()
      const running = parts()
      started = running.catch(() => {})
      try {
        return await running
      } catch (error) {
        // What failed at the end is most likely a consequence.
        await stop().catch(() => {})
        throw error
      }
    },
    stop
  }
}

/** `work`, unless the signal comes first; then the result of `work` is ignored. @throws the signal's reason */
export async function unlessAborted<T> (work: Promise<T>, signal: AbortSignal): Promise<T> {
  work.catch(() => {})
  let onAbort!: () => void
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => {
      const reason: unknown = signal.reason
      reject(reason instanceof Error ? reason : new Error(String(reason)))
    }
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
  })
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
