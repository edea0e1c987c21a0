/**
 * Why logins and requests are refused, for the log and a counter. A client gets one answer for every reason, so that it
 * does not learn which ids exist.
 *
 * Each reason of each transport gets one line in ten seconds, so a flood of one hides no other and does not fill the
 * disk. A line holds no credential and no part of one. It holds an id only if a principal with that id was found, or if
 * the signature of its token was verified.
 */
import type { Logger } from 'pino'
import type { ClientTransport } from '../../schemas/transport.ts'
import { createLogThrottle } from '../log-throttle.ts'

/** A closed list; also the label of a metric. */
export const LOGIN_REFUSALS = [
  'no_credentials',
  'malformed',
  'unknown_id',
  'revoked',
  'wrong_secret',
  'expired',
  'wrong_client_id',
  'wrong_user_name',
  'wrong_issuer',
  'wrong_audience',
  'wrong_signature',
  'invalid_token',
  'not_allowed',
  'unavailable'
] as const

export type LoginRefusal = typeof LOGIN_REFUSALS[number]

type RefusalCounts = Readonly<Record<LoginRefusal, number>>

/** A refusal for the log, without credentials. */
export interface LoginRefusalNote {
  readonly transport: ClientTransport
  readonly reason: LoginRefusal
  readonly remoteAddress: string | undefined
  readonly clientId?: string
  /** Set where a principal of that id exists. */
  readonly principal?: string | undefined
  /** Until the client is told. */
  readonly delayMs?: number
  readonly method?: string
  /** A pattern, such as `/vital-data/:device`: a path holds ids. */
  readonly route?: string | undefined
}

const LOG_INTERVAL_MS = 10_000

/** See the top of this file. */
export class LoginRefusals {
  readonly counts = { mqtt: noRefusals(), http: noRefusals(), grpc: noRefusals() }
  readonly #throttles = new Map<string, ReturnType<typeof createLogThrottle>>()
  readonly #logger: Logger

  constructor (logger: Logger) {
    this.#logger = logger
  }

  note (note: LoginRefusalNote): void {
    const { transport, reason } = note
    this.counts[transport][reason]++
    const key = `${transport} ${reason}`
    let throttle = this.#throttles.get(key)
    if (throttle === undefined) {
      throttle = createLogThrottle({ intervalMs: LOG_INTERVAL_MS })
      this.#throttles.set(key, throttle)
    }
    throttle((leftOut) => {
      this.#logger.warn({ ...note, leftOut }, transport === 'mqtt' ? 'login refused' : 'request refused')
    })
  }
}

/** How often each reason came, by transport. */
export type LoginRefusalCounts = Readonly<Record<LoginRefusalNote['transport'], RefusalCounts>>

function noRefusals (): Record<LoginRefusal, number> {
  return Object.fromEntries(LOGIN_REFUSALS.map((reason) => [reason, 0])) as Record<LoginRefusal, number>
}
