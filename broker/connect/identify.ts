import type { Logger } from 'pino'
import type { LimitHits } from '../limit-hits.ts'
import type { BrokerLimits } from '../limits.ts'
import { createLogThrottle } from '../log-throttle.ts'
import { refusalOfConnect } from './authorisation.ts'
import type { Authenticate, Authentication } from './credentials.ts'
import type { HeldLogins } from './held-logins.ts'
import type { LoginDelays } from './login-delays.ts'
import type { LoginRefusal } from './login-refusals.ts'
import type { Identity, Login } from './login.ts'
import type { Revocations } from './revocations.ts'

/** Why a login does not succeed: refused with CONNACK 5, or closed without a CONNACK. */
export type NotIdentified = 'refused' | 'unavailable'

interface IdentifyOptions {
  readonly limits: Pick<BrokerLimits, 'authenticationTimeoutMs'>
  readonly hits: LimitHits
  readonly loginDelays: LoginDelays
  readonly held: HeldLogins
  readonly revocations: Pick<Revocations, 'count'>
  /** Without it every client is accepted, as in the open mode. */
  readonly authenticate?: Authenticate | undefined
  readonly logger: Logger
}

/**
 * Finds the principal of a login: verifies its credentials, for as long as that takes, and checks client id and will.
 */
export function createIdentify (options: IdentifyOptions) {
  const { limits, hits, loginDelays, held, revocations, authenticate, logger } = options
  const throttle = createLogThrottle({ intervalMs: 10_000 })

  async function ask (login: Login): Promise<Authentication> {
    if (authenticate === undefined) return { status: 'accepted', principal: null }
    try {
      const answer = authenticate(login)
      return answer instanceof Promise ? await Promise.race([answer, timeOut(login)]) : answer
    } catch (error) {
      throttle((leftOut) => { logger.error({ err: error, leftOut }, 'credentials could not be verified') })
      return { status: 'unavailable' }
    } finally {
      login.cancel()
    }
  }

  async function timeOut (login: Login): Promise<Authentication> {
    await login.wait(limits.authenticationTimeoutMs)
    if (!login.isOver) {
      hits.hit('authentication_time')
      loginDelays.refused(login, { reason: 'unavailable' })
    }
    login.end()
    return { status: 'unavailable' }
  }

  /** Asks again while credentials cannot be verified, for as long as the login may be held. */
  async function askUntilKnown (login: Login): Promise<{ readonly answer: Authentication, readonly since: number }> {
    try {
      for (;;) {
        const since = revocations.count
        const answer = await ask(login)
        // An overloaded login is not tried again: a guess that waited would be verified again and again.
        if (answer.status !== 'unavailable' || answer.isOverloaded === true) return { answer, since }
        if (!await held.wait(login)) return { answer, since }
        login.isRetry = true
      }
    } finally {
      held.leave(login)
    }
  }

  /** Settles once the client may be told of the refusal. */
  async function refuse (login: Login, reason: LoginRefusal, principal?: string): Promise<'refused'> {
    await loginDelays.failed(login, { reason, principal })
    return 'refused'
  }

  async function identify (login: Login, will: { readonly topic: string } | undefined): Promise<Identity | NotIdentified> {
    const { answer, since } = await askUntilKnown(login)
    if (answer.status === 'unavailable') {
      // A client that has left was not refused.
      if (!login.isOver) loginDelays.refused(login, { reason: 'unavailable' })
      return 'unavailable'
    }
    if (answer.status === 'refused') return refuse(login, answer.reason, answer.principalId)
    const { principal, expiresAtMs = Infinity } = answer
    if (login.clientId === '') login.assignClientId(principal)
    const reason = refusalOfConnect(principal, login.clientId, will) ?? (expiresAtMs > Date.now() ? null : 'expired')
    return reason === null ? { principal, expiresAtMs, since } : refuse(login, reason, principal?.id)
  }

  return { identify, refuse }
}
