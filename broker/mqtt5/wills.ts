/**
 * Wills that wait for their Will Delay Interval (MQTT 5 §3.1.3.2.2).
 *
 *   connection lost ──> waits ── delay over, or its session has ended ──> published [MQTT-3.1.2-8]
 *                         └───── its client resumes the session ────────> dropped [MQTT-3.1.3-9]
 */
import type { Principal } from '../../schemas/principal.ts'
import type { PrincipalReview } from '../connect/revocations.ts'
import type { LimitHits } from '../limit-hits.ts'
import type { BrokerLimits } from '../limits.ts'
import type { Will } from '../wills/will.ts'

interface Waiting {
  /** By `performance.now()`. */
  readonly dueMs: number
  readonly will: Will
  readonly principal: Principal | null
  /** Unix milliseconds at which the credentials of its client end. */
  readonly expiresAtMs: number
  readonly publish: () => void
  readonly bytes: number
}

interface WillsOptions {
  readonly limits: Pick<BrokerLimits, 'delayedWillsMax' | 'delayedWillBytesMax'>
  readonly hits: LimitHits
  /** A client has a will that waits, or has none any more. */
  readonly onChanged?: ((clientId: string) => void) | undefined
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

  find (clientId: string): Waiting | undefined {
    return this.#waiting.get(clientId)
  }

  /** Whether so many further wills may wait, of so many bytes. */
  admits (count: number, bytes: number): boolean {
    const { delayedWillsMax, delayedWillBytesMax } = this.#options.limits
    return this.#waiting.size + count <= delayedWillsMax && this.#bytes + bytes <= delayedWillBytesMax
  }

  /**
   * Publishes a will after a delay, or at once.
   * @param bytes - that it keeps in memory
   */
  add (clientId: string, delayMs: number, waiting: Omit<Waiting, 'dueMs'>): void {
    this.fire(clientId)
    const { hits, onChanged } = this.#options
    if (delayMs > 0 && this.admits(1, waiting.bytes)) {
      this.#waiting.set(clientId, { ...waiting, dueMs: performance.now() + delayMs })
      this.#bytes += waiting.bytes
      onChanged?.(clientId)
      return
    }
    if (delayMs > 0) hits.hit('delayed_wills')
    waiting.publish()
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
    if (this.#waiting.delete(clientId)) this.#options.onChanged?.(clientId)
  }

  /** Publishes those whose time has come. */
  publishDue (nowMs: number): void {
    for (const [clientId, { dueMs }] of this.#waiting) if (dueMs <= nowMs) this.fire(clientId)
  }

  /** Principals changed: drops the wills of those that must leave. @param ids - whose wills; all without */
  review (review: PrincipalReview, ids?: ReadonlySet<string>): void {
    const nowMs = Date.now()
    this.drop((principal) => (ids === undefined || (principal !== null && ids.has(principal.id))) &&
      (review(principal) ?? Infinity) <= nowMs)
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
