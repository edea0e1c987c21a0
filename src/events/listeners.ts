import type { Logger } from 'pino'
import type { PrincipalReview } from '../../broker/connect/revocations.ts'
import type { Principal } from '../../schemas/principal.ts'
import type { Delivery } from './delivery.ts'
import { toHeartbeat } from './event-frame.ts'
import type { ListenerEnd } from './events-metrics.ts'
import type { EventsLimits } from './limits.ts'
import type { Listener } from './listener.ts'

interface ListenersOptions {
  readonly limits: EventsLimits
  /** It has left, or was closed. */
  readonly onRemoved: (listener: Listener) => void
  readonly logger: Logger
}

/** The open listeners: whether there is room for one more, and when each ends. */
export class Listeners {
  /** Listeners that found no room. */
  refused = 0
  readonly closed: Record<ListenerEnd, number> = { expired: 0, revoked: 0, stalled: 0, overfull: 0 }
  readonly #options: ListenersOptions
  readonly #all = new Set<Listener>()
  readonly #ofDevice = new Map<string, number>()

  constructor (options: ListenersOptions) {
    this.#options = options
  }

  get size (): number {
    return this.#all.size
  }

  /** Whether there is room for one more. Counts the listeners that are refused. */
  hasRoom (principal: Principal | null): boolean {
    const { listenersMax, listenersPerDeviceMax } = this.#options.limits
    const ofDevice = principal?.role === 'device' ? this.#ofDevice.get(principal.id) ?? 0 : 0
    const isRoom = this.#all.size < listenersMax && ofDevice < listenersPerDeviceMax
    if (!isRoom) this.refused++
    return isRoom
  }

  add (listener: Listener): void {
    this.#all.add(listener)
    this.#count(listener.principal, 1)
    listener.sink.on('close', () => { this.#remove(listener) })
  }

  /** @param reason - `null`: the gateway stops */
  close (listener: Listener, reason: ListenerEnd | null): void {
    const { limits, logger } = this.#options
    const { sink, isStalled, principal } = listener
    this.#remove(listener)
    if (reason !== null) {
      this.closed[reason]++
      logger.debug({ principal: principal?.id, reason }, 'a listener of events was closed')
    }
    if (isStalled) {
      sink.destroy()
      return
    }
    sink.end()
    const timer = setTimeout(() => { sink.destroy() }, limits.endMs)
    sink.on('close', () => { clearTimeout(timer) })
  }

  closeAll (): void {
    for (const listener of this.#all) this.close(listener, null)
  }

  /** Closes those whose credentials have ended, or that read nothing; sends heartbeats to those that are silent. */
  check (delivery: Delivery): void {
    const { stalledMs, heartbeatMs, checkIntervalMs } = this.#options.limits
    const nowMs = performance.now()
    const wallMs = Date.now()
    for (const listener of this.#all) {
      if (listener.expiresAtMs <= wallMs) {
        this.close(listener, 'expired')
      } else if (listener.isStalled) {
        delivery.look(listener, nowMs)
        if (nowMs - listener.stalledAtMs > stalledMs) this.close(listener, 'stalled')
      } else if (nowMs - listener.wroteAtMs >= heartbeatMs - checkIntervalMs && delivery.isIdle(listener)) {
        delivery.catchUp(listener)
        delivery.write(listener, toHeartbeat(delivery.ring.epoch, listener.cursor - 1))
      }
    }
  }

  /** As of `Broker`: closes the listeners of these principals. */
  disconnect (predicate: (principal: Principal | null) => boolean): void {
    for (const listener of this.#all) if (predicate(listener.principal)) this.close(listener, 'revoked')
  }

  /** As of `Broker`: principals changed. */
  review (review: PrincipalReview, ids?: ReadonlySet<string>): void {
    for (const listener of this.#all) {
      const { principal } = listener
      if (ids !== undefined && (principal === null || !ids.has(principal.id))) continue
      const untilMs = review(principal)
      if (untilMs === undefined) continue
      if (untilMs <= Date.now()) this.close(listener, 'revoked')
      else listener.expiresAtMs = untilMs
    }
  }

  /** The principal of every listener. */
  principals (): Array<Principal | null> {
    return [...this.#all].map(({ principal }) => principal)
  }

  #remove (listener: Listener): void {
    if (!this.#all.delete(listener)) return
    this.#count(listener.principal, -1)
    this.#options.onRemoved(listener)
  }

  #count (principal: Principal | null, by: 1 | -1): void {
    if (principal?.role !== 'device') return
    const count = (this.#ofDevice.get(principal.id) ?? 0) + by
    if (count === 0) this.#ofDevice.delete(principal.id)
    else this.#ofDevice.set(principal.id, count)
  }
}
