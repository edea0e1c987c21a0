/** Data that could not be read since the open. */
export interface Damage {
  stretches: number
  bytes: number
  /** Units of the ledger that were counted as readings of the spool, and were lost before they were given out. */
  readings: number
}

/** Counts of what the spool holds, by the record headers: durable and not released. */
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

  /** Unix milliseconds; no record in the spool was appended earlier. */
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

  /** Called once all is released. Counts that are left are of records whose headers were damaged after the count. */
  settle (): void {
    this.damage.readings += this.#readings
    this.#records = 0
    this.#readings = 0
    this.#oldestAtMs = null
  }
}
