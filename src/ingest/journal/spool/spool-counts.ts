/** Data that could not be read since the open. */
export interface Damage {
  stretches: number
  bytes: number
  /** Units of the ledger that were counted in `readings`, and left it without being given out. */
  readings: number
}

/** The contents of the spool, by the headers: durable and not released. */
export class SpoolCounts {
  readonly damage: Damage = { stretches: 0, bytes: 0, readings: 0 }
  #records: number
  #readings: number
  #oldestAtMs: number | null

  constructor (found: { readonly records: number, readonly readings: number, readonly oldestAtMs: number | null }) {
    this.#records = found.records
    this.#readings = found.readings
    this.#oldestAtMs = found.oldestAtMs
  }

  get records (): number {
    return this.#records
  }

  get readings (): number {
    return this.#readings
  }

  /** Unix milliseconds: nothing was appended earlier. */
  get oldestAtMs (): number | null {
    return this.#oldestAtMs
  }

  add (records: number, readings: number, appendedAtMs: number): void {
    this.#records += records
    this.#readings += readings
    this.#oldestAtMs ??= appendedAtMs
  }

  release (records: number, readings: number, appendedAtMs: number): void {
    this.#records -= records
    this.#readings -= readings
    this.#oldestAtMs = appendedAtMs
  }

  /** @param readings - of a record that was counted; `null` when its contents are unknown */
  addDamage (bytes: number, readings: number | null): void {
    this.damage.stretches++
    this.damage.bytes += bytes
    if (readings === null) return
    this.damage.readings += readings
    this.#readings -= readings
    this.#records--
  }

  /** Once all is released, the rest of the counts lay under headers that were damaged after they were counted. */
  settle (): void {
    this.damage.readings += this.#readings
    this.#records = 0
    this.#readings = 0
    this.#oldestAtMs = null
  }
}
