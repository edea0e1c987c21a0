import type { LedgerEntries, Measure } from './ledger-file.ts'

export interface SpanFigures {
  readonly sent: number
  readonly acknowledged: number
  /** Of those, before the span was over. */
  readonly acknowledgedInSpan: number
  readonly p99Ms: number
  readonly slowestMs: number
}

/**
 * Acknowledgements of readings that were sent within a span: C4, and how slow they were. Delays are whole milliseconds, so
 * the figures are exact though only the number of each delay is kept.
 */
export class Span implements Measure {
  readonly #fromMs: number
  readonly #toMs: number
  /** Delay, milliseconds → readings. */
  readonly #delays = new Map<number, number>()
  #sent = 0
  #acknowledged = 0
  #acknowledgedInSpan = 0

  /** Unix milliseconds; both ends belong to it. */
  constructor (fromMs: number, toMs: number) {
    this.#fromMs = fromMs
    this.#toMs = toMs
  }

  add (part: LedgerEntries): void {
    for (const entries of part.values()) {
      for (const entry of entries) {
        if (entry === undefined || entry.sentAtMs < this.#fromMs || entry.sentAtMs > this.#toMs) continue
        this.#sent++
        if (entry.acknowledgedAtMs === null) continue
        this.#acknowledged++
        if (entry.acknowledgedAtMs < this.#toMs) this.#acknowledgedInSpan++
        const delayMs = entry.acknowledgedAtMs - entry.sentAtMs
        this.#delays.set(delayMs, (this.#delays.get(delayMs) ?? 0) + 1)
      }
    }
  }

  figures (): SpanFigures {
    const delays = [...this.#delays].sort(([a], [b]) => a - b)
    const before99 = Math.floor(this.#acknowledged * 0.99)
    let passed = 0
    const p99 = delays.find(([, count]) => (passed += count) > before99)
    return {
      sent: this.#sent,
      acknowledged: this.#acknowledged,
      acknowledgedInSpan: this.#acknowledgedInSpan,
      p99Ms: p99?.[0] ?? 0,
      slowestMs: delays.at(-1)?.[0] ?? 0
    }
  }
}
