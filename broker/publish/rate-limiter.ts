import { refill } from './token-bucket.ts'

/** Seconds of the rate that may come at once: a device that was away sends its backlog at full speed. */
const BURST_SECONDS = 2

/** What one connection may send a second; 0: no limit. */
export interface Rates {
  readonly messagesPerSecondMax: number
  readonly bytesPerSecondMax: number
}

/**
 * Two token buckets of one connection, messages and bytes, filled as time passes and emptied by what is read. Nothing
 * is dropped: while one of them is empty, the connection is not read.
 */
export class RateLimiter {
  readonly #messagesPerMs: number
  readonly #bytesPerMs: number
  readonly #messagesMax: number
  readonly #bytesMax: number
  #filledAtMs: number
  messages: number
  bytes: number

  /** @param nowMs - of a monotonic clock */
  constructor ({ messagesPerSecondMax, bytesPerSecondMax }: Rates, nowMs: number) {
    this.#messagesPerMs = messagesPerSecondMax === 0 ? Infinity : messagesPerSecondMax / 1000
    this.#bytesPerMs = bytesPerSecondMax === 0 ? Infinity : bytesPerSecondMax / 1000
    this.#messagesMax = messagesPerSecondMax === 0 ? Infinity : Math.max(messagesPerSecondMax * BURST_SECONDS, 1)
    this.#bytesMax = bytesPerSecondMax === 0 ? Infinity : Math.max(bytesPerSecondMax * BURST_SECONDS, 1)
    this.messages = this.#messagesMax
    this.bytes = this.#bytesMax
    this.#filledAtMs = nowMs
  }

  get isEmpty (): boolean {
    return this.messages < 1 || this.bytes < 1
  }

  fill (nowMs: number): void {
    const passedMs = nowMs - this.#filledAtMs
    if (passedMs <= 0) return
    this.#filledAtMs = nowMs
    this.messages = refill(this.messages, passedMs, this.#messagesPerMs, this.#messagesMax)
    this.bytes = refill(this.bytes, passedMs, this.#bytesPerMs, this.#bytesMax)
  }

  spend (messages: number, bytes: number): void {
    this.messages -= messages
    this.bytes -= bytes
  }

  /**
   * @returns the empty bucket, and the milliseconds until it holds `atOnce` messages or a hundred times as many bytes,
   *   at most its burst; `null` when neither is empty
   */
  shortage (atOnce: number): { of: 'messages' | 'bytes', waitMs: number } | null {
    if (this.messages < 1) {
      return { of: 'messages', waitMs: (Math.min(atOnce, this.#messagesMax) - this.messages) / this.#messagesPerMs }
    }
    if (this.bytes < 1) {
      return { of: 'bytes', waitMs: (Math.min(atOnce * 100, this.#bytesMax) - this.bytes) / this.#bytesPerMs }
    }
    return null
  }
}

/** @returns a connection's limiter; `null` when neither rate is limited */
export function createRateLimiter (rates: Rates, nowMs: number): RateLimiter | null {
  return rates.messagesPerSecondMax === 0 && rates.bytesPerSecondMax === 0 ? null : new RateLimiter(rates, nowMs)
}
