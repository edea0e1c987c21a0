/**
 * Logins whose credentials cannot be verified now: PostgreSQL is away and the principal is not in memory, or the keys
 * of a token's issuer cannot be fetched.
 *
 * MQTT 3.1.1 has CONNACK 3 for this, and MQTT.js 5 does not come back after it. So the socket is held without an
 * answer, and its credentials are verified again, at intervals that grow. Once they can be verified the client gets its
 * CONNACK. If they cannot in time, the connection is closed without one, after which clients come back by themselves.
 * Held logins are bounded in number, bytes and milliseconds; a login beyond a bound is closed at once.
 */
import type { Logger } from 'pino'
import type { LimitHits } from '../limit-hits.ts'
import type { BrokerLimits } from '../limits.ts'
import type { Login } from './login.ts'
import { createLogThrottle } from '../log-throttle.ts'

/** Between two tries of one login. Each costs a look-up; those of many logins share a query. */
const RETRY_MIN_MS = 250
const RETRY_MAX_MS = 2000

interface Hold {
  readonly sinceMs: number
  bytes: number
  delayMs: number
}

interface HeldLoginsOptions {
  readonly limits: Pick<BrokerLimits, 'heldLoginsMax' | 'heldLoginBytesMax' | 'heldLoginTimeoutMs'>
  readonly hits: LimitHits
  readonly logger: Logger
}

/** See the top of this file. */
export class HeldLogins {
  readonly #options: HeldLoginsOptions
  readonly #holds = new Map<Login, Hold>()
  readonly #throttle = createLogThrottle({ intervalMs: 10_000 })
  #bytes = 0

  constructor (options: HeldLoginsOptions) {
    this.#options = options
  }

  get size (): number {
    return this.#holds.size
  }

  /** Waits until a login may be tried again. @returns false when it may not: it is over, or beyond a bound */
  async wait (login: Login): Promise<boolean> {
    const { hits, limits } = this.#options
    if (login.isOver) return false
    const nowMs = performance.now()
    const hold = this.#holds.get(login) ?? this.#begin(login, nowMs)
    const bytes = login.heldBytes()
    this.#bytes += bytes - hold.bytes
    hold.bytes = bytes
    if (this.#holds.size > limits.heldLoginsMax || this.#bytes > limits.heldLoginBytesMax) {
      hits.hit('held_logins')
      return false
    }
    const leftMs = hold.sinceMs + limits.heldLoginTimeoutMs - nowMs
    if (leftMs <= 0) return false
    // Spread, so that logins that came together do not ask together.
    await login.wait(Math.min(leftMs, hold.delayMs * (0.75 + Math.random() / 2)))
    hold.delayMs = Math.min(hold.delayMs * 2, RETRY_MAX_MS)
    return !login.isOver
  }

  /** A login has an answer, or gets none. */
  leave (login: Login): void {
    const hold = this.#holds.get(login)
    if (hold === undefined) return
    this.#holds.delete(login)
    this.#bytes -= hold.bytes
  }

  #begin (login: Login, nowMs: number): Hold {
    const hold = { sinceMs: nowMs, bytes: 0, delayMs: RETRY_MIN_MS }
    this.#holds.set(login, hold)
    this.#throttle((leftOut) => {
      const { clientId, origin: { remoteAddress } } = login
      this.#options.logger.warn({ clientId, remoteAddress, held: this.size, leftOut },
        'credentials cannot be verified now: the connection waits without an answer')
    })
    return hold
  }
}
