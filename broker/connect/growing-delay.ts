/** How failures of one kind are answered. */
export interface GrowingDelayLimits {
  /** Failures of one key that are not delayed. */
  readonly freeMax: number
  /** Delay of the next one; each further one is delayed twice as long, up to `delayMsMax`. */
  readonly delayMs: number
  readonly delayMsMax: number
  /** A key without a failure for this long is forgotten. */
  readonly forgetMs: number
  /** Keys known at a time; beyond, the one whose last failure is oldest is forgotten. */
  readonly keysMax: number
}

/** Failures by key, in bounded memory, and the delay of the next one. */
export class GrowingDelay {
  readonly #limits: GrowingDelayLimits
  /** By key, in the order of the last failure. */
  readonly #failures = new Map<string, { count: number, lastMs: number }>()

  constructor (limits: GrowingDelayLimits) {
    this.#limits = limits
  }

  get size (): number {
    return this.#failures.size
  }

  /** Counts a failure. @returns its delay in milliseconds */
  add (key: string, nowMs: number): number {
    const { freeMax, delayMs, delayMsMax, forgetMs, keysMax } = this.#limits
    const known = this.#failures.get(key)
    const count = known === undefined || nowMs - known.lastMs > forgetMs ? 1 : known.count + 1
    this.#failures.delete(key)
    this.#failures.set(key, { count, lastMs: nowMs })
    const oldest = this.#failures.keys().next()
    if (this.#failures.size > keysMax && oldest.done !== true) this.#failures.delete(oldest.value)
    return count <= freeMax ? 0 : Math.min(delayMs * 2 ** (count - freeMax - 1), delayMsMax)
  }

  /** Whether the next failure of a key is not delayed. */
  isFree (key: string, nowMs: number): boolean {
    const known = this.#failures.get(key)
    return known === undefined || known.count < this.#limits.freeMax || nowMs - known.lastMs > this.#limits.forgetMs
  }

  /** Forgets the failures of a key. */
  reset (key: string): void {
    this.#failures.delete(key)
  }
}
