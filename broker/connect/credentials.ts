import type { Principal } from '../../schemas/principal.ts'
import type { Origin } from '../listen/origin.ts'
import type { LoginRefusal } from './login-refusals.ts'

/** Credentials that a client presents. */
export interface Credentials {
  readonly clientId: string
  readonly username: string | undefined
  readonly password: Buffer | undefined
  readonly origin: Origin
  /** An earlier attempt could not verify them. */
  readonly isRetry: boolean
  /** Becomes true once the answer is not needed any more: work that has not begun by then need not begin. */
  readonly isOver: boolean
}

/** The answer to {@link Credentials}. */
export type Authentication =
  | {
    readonly status: 'accepted'
    /** `null`: no credentials exist, and every client may do everything. */
    readonly principal: Principal | null
    /** Unix milliseconds at which the connection ends. */
    readonly expiresAtMs?: number
  }
  /**
   * CONNACK 5 for every reason, so that no client learns which ids exist. The reason is for the log; `principalId` is
   * set where a principal of that id exists.
   */
  | { readonly status: 'refused', readonly reason: LoginRefusal, readonly principalId?: string }
  /**
   * Cannot be verified now: held, tried again, and closed without a CONNACK in the end; at once when overloaded.
   * `isUnasked`: not known in memory, and the caller allowed no look-up.
   */
  | { readonly status: 'unavailable', readonly isOverloaded?: true, readonly isUnasked?: true }

/** Verifies credentials. An error is logged and answered as `unavailable`. */
export type Authenticate = (credentials: Credentials) => Authentication | Promise<Authentication>
