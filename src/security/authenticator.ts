/**
 * Authenticates clients and requests. All transports use it, so that they cannot differ.
 *
 * Over MQTT, in this order: a client certificate that names the client id; a token as the password; a generated
 * secret; a password. Over HTTP: a token or a generated secret. Over gRPC: the same, or else a client certificate,
 * which identifies the device of its common name, or of its first alternative name. A known credential is answered in
 * the same turn, without a promise.
 *
 * The reason of a refusal goes to the log, never to the client. A credential that cannot be checked is `unavailable`
 * and never `refused`: PostgreSQL is away and the principal is not cached, the token's issuer does not answer, or too
 * many passwords wait. A device would take `refused` for a wrong password, and might give up.
 */
import type { IncomingHttpHeaders } from 'node:http'
import type { Authentication, Credentials } from '../../broker/connect/credentials.ts'
import type { LoginRefusal } from '../../broker/connect/login-refusals.ts'
import { isPrincipalId, type Principal } from '../../schemas/principal.ts'
import type { ClientTransport } from '../../schemas/transport.ts'
import type { AccessMode } from './access.ts'
import type { Answer, Directory } from './directory.ts'
import type { KnownPassword, KnownPrincipal } from './known-principal.ts'
import type { Asker, Passwords } from './passwords.ts'
import { toProven } from './proofs.ts'
import { digestOf, isSameDigest, isSecret } from './secrets.ts'
import { isToken, type TokenCheck, type Tokens } from './tokens.ts'

const OPEN: Authentication = { status: 'accepted', principal: null }
const UNAVAILABLE: Authentication = { status: 'unavailable' }
const OVERLOADED: Authentication = { status: 'unavailable', isOverloaded: true }
const UNASKED: Authentication = { status: 'unavailable', isUnasked: true }

/** Transport and result of a login, for the counters. */
export interface Login {
  readonly transport: ClientTransport
  readonly outcome: Authentication['status']
}

interface AuthenticatorOptions {
  readonly mode: () => AccessMode
  readonly directory: Directory
  readonly passwords: Passwords
  /** `null`: no issuer is configured, and a token is a password like any other. */
  readonly tokens: Tokens | null
  readonly onLogin: (login: Login) => void
}

type Awaitable<T> = T | Promise<T>

/** Whether an unknown secret or token may be looked up; called only for one that is not known in memory. */
export type MayLookUp = () => boolean
const ALWAYS: MayLookUp = () => true

/** Continues at once when `value` is there already. */
function then<T, R> (value: Awaitable<T>, next: (value: T) => Awaitable<R>): Awaitable<R> {
  return value instanceof Promise ? value.then(next) : next(value)
}

/** The entry points of authentication, one for each transport. */
export function createAuthenticator ({ mode, directory, passwords, tokens, onLogin }: AuthenticatorOptions) {
  /** See {@link import('../../broker/connect/credentials.ts').Authenticate}. */
  function authenticateMqtt (credentials: Credentials): Awaitable<Authentication> {
    const now = mode()
    if (now === 'open') return OPEN
    // A login that is held is tried again and again, and counted as unavailable once.
    return then(now === 'closed' ? identifyMqtt(credentials) : UNAVAILABLE, (authentication) =>
      authentication.status === 'unavailable' && credentials.isRetry ? authentication : count('mqtt', authentication))
  }

  function identifyMqtt (credentials: Credentials): Awaitable<Authentication> {
    const { clientId, username, password, origin } = credentials
    const byCertificate = origin.certificateNames.includes(clientId) &&
      (username === undefined || username === clientId)
    if (byCertificate && isPrincipalId(clientId)) {
      return then(directory.find(clientId), (answer) => acceptDevice(clientId, answer))
    }
    if (password === undefined) {
      return refused(origin.certificateNames.length > 0 ? 'wrong_client_id' : 'no_credentials')
    }
    const text = password.toString()
    if (tokens !== null && isToken(text)) return then(tokens.check(text), (token) => acceptToken(token, username))
    if (username === undefined) return refused('malformed')
    if (!isPrincipalId(username)) return refused('unknown_id')
    return then(directory.find(username), (answer) => isSecret(text)
      ? acceptSecret(answer, digestOf(text))
      : checkPassword(username, answer, password, credentials))
  }

  /**
   * By the headers of a request: `Authorization: Bearer` with a secret or a token, or `X-API-Key` with a secret.
   * @param mayLookUp - where it says no, a credential that is not known in memory is `unavailable` and `isUnasked`
   */
  function authenticateHttp (headers: IncomingHttpHeaders, mayLookUp = ALWAYS): Awaitable<Authentication> {
    const now = mode()
    if (now === 'open') return OPEN
    if (now !== 'closed') return count('http', UNAVAILABLE)
    const credential = credentialOf(headers)
    // Probes and browsers present none, which is not a login.
    return credential === null
      ? refused('no_credentials')
      : then(identifyHttp(credential, mayLookUp), (authentication) => count('http', authentication))
  }

  /**
   * By the metadata of a call, as {@link authenticateHttp}, or by the client certificate of its connection.
   * @param certificateNames - common names first; empty without a valid certificate, which is no guess and is always
   *   looked up
   */
  function authenticateGrpc (
    headers: IncomingHttpHeaders, certificateNames: readonly string[], mayLookUp = ALWAYS
  ): Awaitable<Authentication> {
    const now = mode()
    if (now === 'open') return OPEN
    if (now !== 'closed') return count('grpc', UNAVAILABLE)
    const credential = credentialOf(headers)
    if (credential !== null) {
      return then(identifyHttp(credential, mayLookUp), (authentication) => count('grpc', authentication))
    }
    const id = certificateNames.find(isPrincipalId)
    if (id === undefined) return refused('no_credentials')
    return then(directory.find(id), (answer) => count('grpc', acceptDevice(id, answer)))
  }

  function identifyHttp (credential: string, mayLookUp: MayLookUp): Awaitable<Authentication> {
    if (isSecret(credential)) {
      const digest = digestOf(credential)
      if (!directory.isKnownDigest(digest) && !mayLookUp()) return UNASKED
      return then(directory.findByDigest(digest), (answer) => answer === undefined
        ? refuseSecret(digest)
        : acceptSecret(answer, digest))
    }
    if (tokens === null || !isToken(credential)) return refused('malformed')
    if (!tokens.isKnown(credential) && !mayLookUp()) return UNASKED
    return then(tokens.check(credential), (token) => acceptToken(token, undefined))
  }

  /**
   * Refuses a secret that has no principal. A revocation deletes the secret, so the former owner comes from the cache.
   */
  function refuseSecret (digest: string): Authentication {
    const id = directory.formerOwnerOf(digest)
    return id === undefined ? refused('wrong_secret') : refused('revoked', id)
  }

  /** A certificate needs no row, but a revoked row, or a row of another role, refuses it. */
  function acceptDevice (id: string, answer: Answer): Authentication {
    if (answer === 'unavailable') return UNAVAILABLE
    if (answer?.isRevoked === true) return refused('revoked', id)
    if (answer !== undefined && answer.principal.role !== 'device') return refused('not_allowed', id)
    return { status: 'accepted', principal: toProven(id, 'device', { kind: 'certificate' }) }
  }

  function acceptToken (token: TokenCheck, username: string | undefined): Awaitable<Authentication> {
    if (token === 'unavailable') return UNAVAILABLE
    if ('reason' in token) return refused(token.reason, token.principalId)
    const { principal, expiresAtMs } = token
    if (username !== undefined && username !== principal.id) return refused('wrong_user_name', principal.id)
    return then(directory.find(principal.id), (answer) => {
      if (answer === 'unavailable') return UNAVAILABLE
      return answer?.isRevoked === true ? refused('revoked', principal.id) : toAccepted(principal, expiresAtMs)
    })
  }

  /** A password is checked even when no hash can match it, so that the time reveals nothing. */
  function checkPassword (id: string, answer: Answer, password: Buffer, asker: Asker): Awaitable<Authentication> {
    if (answer === 'unavailable') return UNAVAILABLE
    const valid = answer === undefined || answer.isRevoked ? [] : validOf(answer.passwords)
    return then(passwords.check(id, valid.map(({ argon2id }) => argon2id), password, asker), (check) => {
      if (check === 'unavailable') return OVERLOADED
      const used = check === 'wrong' ? undefined : valid.find(({ argon2id }) => argon2id === check.argon2id)
      if (answer === undefined) return refused('unknown_id')
      if (used === undefined) return refused(whyNoPassword(answer, valid), id)
      // The check took seconds, in which the principal may have changed. The device tries again, and by then the
      // password is remembered.
      if (!directory.isCurrent(answer)) return UNAVAILABLE
      return toAccepted(used.principal, used.expiresAtMs)
    })
  }

  function count<A extends Authentication> (transport: Login['transport'], authentication: A): A {
    if (authentication !== UNASKED) onLogin({ transport, outcome: authentication.status })
    return authentication
  }

  return { authenticateMqtt, authenticateHttp, authenticateGrpc }
}

/** See {@link createAuthenticator}. */
export type Authenticator = ReturnType<typeof createAuthenticator>

/** Passwords that have not expired. The one that lasts longest is first, and counts where several match. */
function validOf (passwords: readonly KnownPassword[]): KnownPassword[] {
  const nowMs = Date.now()
  return passwords
    .filter(({ expiresAtMs }) => expiresAtMs > nowMs)
    .toSorted((one, other) => one.expiresAtMs > other.expiresAtMs ? -1 : 1)
}

function acceptSecret (answer: Answer, digest: string): Authentication {
  if (answer === 'unavailable') return UNAVAILABLE
  if (answer === undefined) return refused('unknown_id')
  return answer.isRevoked ? refused('revoked', answer.principal.id) : matchSecret(answer, digest)
}

/** An expired password is not checked: its hash would cost time that an id without a password does not. */
function whyNoPassword ({ isRevoked, passwords }: KnownPrincipal, valid: readonly KnownPassword[]): LoginRefusal {
  if (isRevoked) return 'revoked'
  return valid.length === 0 && passwords.length > 0 ? 'expired' : 'wrong_secret'
}

function matchSecret ({ principal, secrets }: KnownPrincipal, digest: string): Authentication {
  for (const secret of secrets) {
    if (!isSameDigest(secret.digest, digest)) continue
    return secret.expiresAtMs > Date.now()
      ? toAccepted(secret.principal, secret.expiresAtMs)
      : refused('expired', principal.id)
  }
  return refused('wrong_secret', principal.id)
}

function refused (reason: LoginRefusal, principalId?: string): Authentication {
  return principalId === undefined ? { status: 'refused', reason } : { status: 'refused', reason, principalId }
}

function toAccepted (principal: Principal, expiresAtMs: number): Authentication {
  return expiresAtMs === Infinity ? { status: 'accepted', principal } : { status: 'accepted', principal, expiresAtMs }
}

/** RFC 6750 §2.1; the scheme's name has no case. */
const BEARER = /^bearer +([\w.~+/=-]+) *$/i

/** `null` without a credential; a header that cannot be parsed is a credential that matches no principal. */
function credentialOf ({ authorization, 'x-api-key': key }: IncomingHttpHeaders): string | null {
  if (authorization !== undefined) return BEARER.exec(authorization)?.[1] ?? ''
  return typeof key === 'string' ? key : null
}
