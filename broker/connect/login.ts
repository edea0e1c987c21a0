import { randomUUID } from 'node:crypto'
import type { Principal } from '../../schemas/principal.ts'
import type { Origin } from '../listen/origin.ts'
import type { Credentials } from './credentials.ts'

/** The principal that verified credentials belong to. */
export interface Identity {
  readonly principal: Principal | null
  /** Unix milliseconds; infinite for most. */
  readonly expiresAtMs: number
  /** How many reviews of principals (revocations.ts) there had been when the credentials were verified. */
  readonly since: number
}

interface LoginOptions extends Pick<Credentials, 'clientId' | 'username' | 'password' | 'origin'> {
  readonly heldBytes: () => number
}

/**
 * One login under way. Code that waits for it, for seconds while an attacker guesses passwords, holds the login and not
 * the connection, so that the memory of a client that leaves meanwhile is freed at once.
 */
export class Login implements Credentials {
  readonly username: string | undefined
  readonly password: Buffer | undefined
  readonly origin: Origin
  #clientId: string
  isOver = false
  isRetry = false
  /** Bytes that are kept in memory for it. */
  heldBytes: () => number
  /** Set once the credentials are verified. */
  identity: Identity | null = null
  #timer: NodeJS.Timeout | null = null
  #settle: (() => void) | null = null

  constructor ({ clientId, username, password, origin, heldBytes }: LoginOptions) {
    this.#clientId = clientId
    this.username = username
    this.password = password
    this.origin = origin
    this.heldBytes = heldBytes
  }

  get clientId (): string {
    return this.#clientId
  }

  /** Assigns an id to a client of MQTT 5 that has sent none [MQTT-3.1.3-6]. */
  assignClientId (principal: Principal | null): void {
    // A device connects under its own id only.
    this.#clientId = principal?.role === 'device' ? principal.id : `auto-${randomUUID()}`
  }

  /** Settles after `ms`, or when the login ends. One wait at a time. */
  wait (ms: number): Promise<void> {
    if (this.isOver) return Promise.resolve()
    return new Promise((resolve) => {
      const settle = () => {
        this.cancel()
        resolve()
      }
      this.#settle = settle
      this.#timer = setTimeout(settle, ms).unref()
    })
  }

  /** Ends the wait without settling it. */
  cancel (): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    this.#settle = null
  }

  /** Its connection has closed, or its time is up. */
  end (): void {
    this.isOver = true
    this.heldBytes = noBytes
    this.#settle?.()
  }
}

/** Replaces the closure of a login that is over, which would keep the stream in memory. */
const noBytes = () => 0
