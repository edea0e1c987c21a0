/**
 * What keeps guessing slow and everyone else served.
 *
 * Credentials are verified at once and a right answer is given at once; only a refusal is held back, longer with each
 * one of the same name or address. So nobody can be locked out by failures of somebody else, however many there are,
 * and the guesser waits. What can be overwhelmed, the check of a password that a person chose, bounds itself.
 */
import type { Logger } from 'pino'
import { isPrincipalId } from '../../schemas/principal.ts'
import { toAddressKey } from '../listen/address-key.ts'
import type { Credentials } from './authentication.ts'
import type { LoginRefusalNote, LoginRefusals } from './login-refusals.ts'
import type { LimitHits } from '../limit-hits.ts'
import type { BrokerLimits } from '../limits.ts'
import type { Login } from './login.ts'
import { createOccasional } from '../log-throttle.ts'
import { SlowDown } from './growing-delay.ts'

interface LoginsOptions {
  readonly limits: Pick<BrokerLimits, 'failedLoginsOfName' | 'failedLoginsOfAddress' | 'takeoversOfClientId'>
  readonly hits: LimitHits
  readonly refusals: LoginRefusals
  readonly logger: Logger
}

/** Why a login is refused; `principal` where there is one of that id. */
type Cause = Pick<LoginRefusalNote, 'reason' | 'principal'>

export function createLogins ({ limits, hits, refusals, logger }: LoginsOptions) {
  const ofName = new SlowDown(limits.failedLoginsOfName)
  const ofAddress = new SlowDown(limits.failedLoginsOfAddress)
  const ofClientId = new SlowDown(limits.takeoversOfClientId)
  const occasionally = createOccasional({ intervalMs: 10_000 })
  const state = { failed: 0, takeovers: 0 }

  /** What nobody can be called shares one key, so that long names do not fill memory. */
  const nameOf = ({ username, clientId }: Credentials) => {
    const name = username ?? clientId
    return isPrincipalId(name) ? name : ''
  }

  function refused ({ clientId, origin: { remoteAddress } }: Pick<Login, 'clientId' | 'origin'>, cause: Cause & { readonly delayMs?: number }): void {
    refusals.note({ transport: 'mqtt', clientId, remoteAddress, ...cause })
  }

  return {
    /** Tells of a refusal without a CONNACK, which nobody has to wait for. */
    refused,

    /** Counts a refusal. @returns when it may be told */
    async failed (login: Login, cause: Cause): Promise<void> {
      state.failed++
      const nowMs = performance.now()
      const delayMs = Math.max(ofName.note(nameOf(login), nowMs), ofAddress.note(toAddressKey(login.origin.remoteAddress), nowMs))
      refused(login, { ...cause, delayMs })
      if (delayMs === 0) return
      hits.hit('failed_logins')
      await login.wait(delayMs)
    },

    succeeded (credentials: Credentials): void {
      ofName.forgive(nameOf(credentials))
    },

    /** Counts a takeover. @returns when it may happen: two devices with one id would otherwise drive each other out all day */
    async takeover (login: Login): Promise<void> {
      state.takeovers++
      const { clientId, origin: { remoteAddress } } = login
      const delayMs = ofClientId.note(clientId, performance.now())
      if (delayMs === 0) return
      hits.hit('takeovers')
      occasionally((leftOut) => {
        logger.warn({ clientId, remoteAddress, delayMs, leftOut }, 'a client id is taken over again and again: two clients may share it')
      })
      await login.wait(delayMs)
    },

    get counts (): { readonly failed: number, readonly takeovers: number } {
      return state
    }
  }
}
