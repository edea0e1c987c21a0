/** How offences of one kind are answered. */
export interface SlowDownLimits {
  /** So many of one key cost nothing. */
  readonly freeMax: number
  /** The next one costs this, each one after twice as much, up to `delayMsMax`. */
  readonly delayMs: number
  readonly delayMsMax: number
  /** A key that has been good for so long is forgotten. */
  readonly forgetMs: number
  /** Keys known at a time; beyond, the one that was good for longest is forgotten. */
  readonly keysMax: number
}

/** Offences by key, in bounded memory, and the delay that the next one costs. */
export class SlowDown {
  readonly #limits: SlowDownLimits
  /** The one that offended last is last. */
  readonly #offences = new Map<string, { count: number, lastMs: number }>()

  constructor (limits: SlowDownLimits) {
    this.#limits = limits
  }

  get size (): number {
    return this.#offences.size
  }

  /** Notes an offence. @returns the milliseconds that it costs */
  note (key: string, nowMs: number): number {
    const { freeMax, delayMs, delayMsMax, forgetMs, keysMax } = this.#limits
    const known = this.#offences.get(key)
    const count = known === undefined || nowMs - known.lastMs > forgetMs ? 1 : known.count + 1
    this.#offences.delete(key)
    this.#offences.set(key, { count, lastMs: nowMs })
    const oldest = this.#offences.keys().next()
    if (this.#offences.size > keysMax && oldest.done !== true) this.#offences.delete(oldest.value)
    return count <= freeMax ? 0 : Math.min(delayMs * 2 ** (count - freeMax - 1), delayMsMax)
  }

  /** Whether its next offence costs nothing. */
  isFree (key: string, nowMs: number): boolean {
    const known = this.#offences.get(key)
    return known === undefined || known.count < this.#limits.freeMax || nowMs - known.lastMs > this.#limits.forgetMs
  }

  forgive (key: string): void {
    this.#offences.delete(key)
  }
}
