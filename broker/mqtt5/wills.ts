/**
 * Wills that wait for their Will Delay Interval (MQTT 5 §3.1.3.2.2).
 *
 *   connection lost ──> waits ── delay over, or its session has ended ──> published [MQTT-3.1.2-8]
 *                         └───── its client resumes the session ────────> dropped [MQTT-3.1.3-9]
 */
import type { Principal } from '../../schemas/principal.ts'
import type { LimitHits } from '../limit-hits.ts'
import type { BrokerLimits } from '../limits.ts'

interface Waiting {
  /** By `performance.now()`. */
  readonly dueMs: number
  readonly principal: Principal | null
  readonly publish: () => void
  readonly bytes: number
}

interface WillsOptions {
  readonly limits: Pick<BrokerLimits, 'delayedWillsMax' | 'delayedWillBytesMax'>
  readonly hits: LimitHits
}

/** See the top of this file. One will of a client id at a time. */
export class Wills {
  readonly #options: WillsOptions
  readonly #waiting = new Map<string, Waiting>()
  #bytes = 0

  constructor (options: WillsOptions) {
    this.#options = options
  }

  get size (): number {
    return this.#waiting.size
  }

  /**
   * Publishes a will after a delay, or at once.
   * @param bytes - that it keeps in memory
   */
  add (clientId: string, delayMs: number, { principal, publish, bytes }: Omit<Waiting, 'dueMs'>): void {
    this.fire(clientId)
    const { limits, hits } = this.#options
    if (delayMs > 0 && this.#waiting.size < limits.delayedWillsMax && this.#bytes + bytes <= limits.delayedWillBytesMax) {
      this.#waiting.set(clientId, { dueMs: performance.now() + delayMs, principal, publish, bytes })
      this.#bytes += bytes
      return
    }
    if (delayMs > 0) hits.hit('delayed_wills')
    publish()
  }

  /** The session of a client has ended. */
  fire (clientId: string): void {
    const waiting = this.#waiting.get(clientId)
    if (waiting === undefined) return
    this.cancel(clientId)
    waiting.publish()
  }

  /** A client has resumed its session. */
  cancel (clientId: string): void {
    this.#bytes -= this.#waiting.get(clientId)?.bytes ?? 0
    this.#waiting.delete(clientId)
  }

  /** Publishes those whose time has come. */
  publishDue (nowMs: number): void {
    for (const [clientId, { dueMs }] of this.#waiting) if (dueMs <= nowMs) this.fire(clientId)
  }

  /** Drops the wills of principals that may not publish any more. */
  drop (isRevoked: (principal: Principal | null) => boolean): void {
    for (const [clientId, { principal }] of this.#waiting) if (isRevoked(principal)) this.cancel(clientId)
  }

  /** The gateway stops: its clients did not fail. */
  clear (): void {
    this.#waiting.clear()
    this.#bytes = 0
  }
}
