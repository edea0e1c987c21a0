/** The answer of a query; `undefined`: it has no such principal. */
export type Lookup<R> = { readonly status: 'found', readonly value: R | undefined } | { readonly status: 'unavailable' }

const UNAVAILABLE = { status: 'unavailable' } as const

interface LookupsOptions<R> {
  /** Returns those of the keys that exist. Bounds its own time. */
  readonly query: (keys: readonly string[]) => Promise<ReadonlyMap<string, R>>
  /** Called once for each query that failed. */
  readonly onFailure: (error: unknown) => void
  readonly delayMs: number
  readonly batchMax: number
  readonly waitingMax: number
}

/**
 * Gathers look-ups of single keys into queries of many. Look-ups within `delayMs` of the first share its query; while
 * a query runs, the next one gathers. One query runs at a time, so that a storm of unknown clients takes one
 * connection of the pool.
 */
export function createLookups<R> ({ query, onFailure, delayMs, batchMax, waitingMax }: LookupsOptions<R>) {
  const waiting = new Map<string, Array<(lookup: Lookup<R>) => void>>()
  let timer: NodeJS.Timeout | null = null
  let isQuerying = false

  function schedule (): void {
    if (isQuerying || waiting.size === 0) return
    timer ??= setTimeout(() => {
      timer = null
      isQuerying = true
      // eslint-disable-next-line @typescript-eslint/no-floating-promises -- it does not reject
      askNext().then(() => {
        isQuerying = false
        schedule()
      })
    }, waiting.size >= batchMax ? 0 : delayMs)
  }

  async function askNext (): Promise<void> {
    const batch = new Map<string, Array<(lookup: Lookup<R>) => void>>()
    for (const [key, askers] of waiting) {
      if (batch.size === batchMax) break
      batch.set(key, askers)
      waiting.delete(key)
    }
    let found: ReadonlyMap<string, R> | null = null
    try {
      found = await query([...batch.keys()])
    } catch (error) {
      onFailure(error)
    }
    for (const [key, askers] of batch) {
      const lookup: Lookup<R> = found === null ? UNAVAILABLE : { status: 'found', value: found.get(key) }
      for (const settle of askers) settle(lookup)
    }
  }

  return {
    /** Settles with the next query that has room; never rejects. */
    find (key: string): Promise<Lookup<R>> {
      const askers = waiting.get(key)
      if (askers === undefined && waiting.size >= waitingMax) return Promise.resolve(UNAVAILABLE)
      return new Promise((resolve) => {
        if (askers === undefined) waiting.set(key, [resolve])
        else askers.push(resolve)
        schedule()
      })
    }
  }
}
