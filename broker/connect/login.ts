import type { Principal } from '../../schemas/principal.ts'
import type { Credentials } from './authentication.ts'
import type { Origin } from '../listen/origin.ts'

/** Who somebody was found to be. */
export interface Identity {
  readonly principal: Principal | null
  /** Unix milliseconds; infinite for most. */
  readonly expiresAtMs: number
  /** How many endings there had been when it was asked for. */
  readonly since: number
}

/**
 * One login on its way. What waits for it, for seconds while somebody guesses passwords, holds this and not the connection, so
 * that a client that leaves meanwhile is let go of at once.
 */
export class Login implements Credentials {
  readonly clientId: string
  readonly username: string | undefined
  readonly password: Buffer | undefined
  readonly origin: Origin
  isOver = false
  isRetry = false
  /** What is kept for it in memory, beside itself. */
  heldBytes: () => number
  /** Once it is known. */
  identity: Identity | null = null
  #timer: NodeJS.Timeout | null = null
  #settle: (() => void) | null = null

  constructor ({ clientId, username, password, origin, heldBytes }: Pick<Credentials, 'clientId' | 'username' | 'password' | 'origin'> & Pick<Login, 'heldBytes'>) {
    this.clientId = clientId
    this.username = username
    this.password = password
    this.origin = origin
    this.heldBytes = heldBytes
  }

  /** Settles after so many milliseconds, or when it ends. One wait at a time. */
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

  /** Nobody waits for it any more. */
  end (): void {
    this.isOver = true
    this.heldBytes = nothing
    this.#settle?.()
  }
}

/** For a login that is over, so that it lets go of its stream. */
const nothing = () => 0
