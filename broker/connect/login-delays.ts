/**
 * Slows guessing, and nothing else.
 *
 * Credentials are verified at once, and right ones are accepted at once. Only a refusal is held back, longer with each
 * one of the same name or address. So failures of an attacker never lock a device out, and the attacker waits. An
 * attacker could overload the slow check of passwords that people chose; it is bounded where it is made.
 */
import type { Logger } from 'pino'
import { isPrincipalId } from '../../schemas/principal.ts'
import type { LimitHits } from '../limit-hits.ts'
import type { BrokerLimits } from '../limits.ts'
import { toAddressKey } from '../listen/address-key.ts'
import { createLogThrottle } from '../log-throttle.ts'
import type { Credentials } from './credentials.ts'
import { GrowingDelay } from './growing-delay.ts'
import type { LoginRefusalNote, LoginRefusals } from './login-refusals.ts'
import type { Login } from './login.ts'

interface LoginDelaysOptions {
  readonly limits: Pick<BrokerLimits, 'failedLoginsOfName' | 'failedLoginsOfAddress' | 'takeoversOfClientId'>
  readonly hits: LimitHits
  readonly refusals: LoginRefusals
  readonly logger: Logger
}

/** Why a login is refused; `principal` where one of that id exists. */
type Cause = Pick<LoginRefusalNote, 'reason' | 'principal'>

export function createLoginDelays ({ limits, hits, refusals, logger }: LoginDelaysOptions) {
  const ofName = new GrowingDelay(limits.failedLoginsOfName)
  const ofAddress = new GrowingDelay(limits.failedLoginsOfAddress)
  const ofClientId = new GrowingDelay(limits.takeoversOfClientId)
  const throttle = createLogThrottle({ intervalMs: 10_000 })
  const state = { failed: 0, takeovers: 0 }

  /** Invalid principal ids share one key, so that long names cannot fill memory. */
  const nameOf = ({ username, clientId }: Credentials) => {
    const name = username ?? clientId
    return isPrincipalId(name) ? name : ''
  }

  function refused (
    { clientId, origin: { remoteAddress } }: Pick<Login, 'clientId' | 'origin'>,
    cause: Cause & { readonly delayMs?: number }
  ): void {
    refusals.note({ transport: 'mqtt', clientId, remoteAddress, ...cause })
  }

  return {
    /** Logs and counts a refusal that is not delayed. */
    refused,

    /** Counts a refusal. @returns settles when the client may be told */
    async failed (login: Login, cause: Cause): Promise<void> {
      state.failed++
      const nowMs = performance.now()
      const addressKey = toAddressKey(login.origin.remoteAddress)
      const delayMs = Math.max(ofName.add(nameOf(login), nowMs), ofAddress.add(addressKey, nowMs))
      refused(login, { ...cause, delayMs })
      if (delayMs === 0) return
      hits.hit('failed_logins')
      await login.wait(delayMs)
    },

    succeeded (credentials: Credentials): void {
      ofName.reset(nameOf(credentials))
    },

    /**
     * Counts a takeover.
     * @returns settles when it may happen: two devices with one id would otherwise close each other all day
     */
    async takeover (login: Login): Promise<void> {
      state.takeovers++
      const { clientId, origin: { remoteAddress } } = login
      const delayMs = ofClientId.add(clientId, performance.now())
      if (delayMs === 0) return
      hits.hit('takeovers')
      throttle((leftOut) => {
        const text = 'a client id is taken over again and again: two clients may share it'
        logger.warn({ clientId, remoteAddress, delayMs, leftOut }, text)
      })
      await login.wait(delayMs)
    },

    get counts (): { readonly failed: number, readonly takeovers: number } {
      return state
    }
  }
}

export type LoginDelays = ReturnType<typeof createLoginDelays>
