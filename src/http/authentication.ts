import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { toAddressKey } from '../../broker/listen/address-key.ts'
import { toAddress } from '../../broker/listen/address.ts'
import type { Authentication } from '../../broker/connect/credentials.ts'
import type { LoginRefusal, LoginRefusals } from '../../broker/connect/login-refusals.ts'
import type { Principal, Role } from '../../schemas/principal.ts'
import type { HttpApp } from './app.ts'
import { HTTP_ERRORS } from './errors.ts'
import { HTTP_LIMITS } from './limits.ts'
import { createRateLimit, createRequestRate, type SpendTogether } from './rate-limit.ts'

/**
 * Authenticates a request; at once for a known credential. It never rejects.
 * @param mayLookUp - asked about a credential that is not known in memory; no: it is `unavailable` and `isUnasked`
 */
export type HttpAuthenticate = (headers: IncomingHttpHeaders, mayLookUp: () => boolean) => Authentication | Promise<Authentication>

declare module 'fastify' {
  interface FastifyRequest {
    /**
     * `null`: no credentials exist, and every request may do everything. `undefined`: a public route, without
     * authentication.
     */
    principal: Principal | null | undefined
    /** Unix milliseconds at which the credential ends; infinite for most. */
    expiresAtMs: number
  }
  interface FastifyContextConfig {
    /**
     * Roles that may use a route; `public`: every request, with or without credentials. By default operators and
     * administrators read, and only administrators change.
     */
    access?: readonly Role[] | 'public'
    /**
     * A browser asks for the credential: the password of Basic counts as a secret or a token. Only for routes that
     * change nothing, because browsers send it by themselves.
     */
    isForBrowsers?: boolean
    /**
     * Answered also while credentials cannot be checked, because it has numbers of the gateway and none of devices.
     */
    answersUnverified?: true
    /** A stream of events: a passing fault is answered 200 with a stream that ends, see `event-stream.ts`. */
    isEventStream?: true
  }
}

/** Roles that may read the state of all devices. */
export const READERS: readonly Role[] = ['operator', 'application', 'admin']

const OPERATORS: readonly Role[] = ['operator', 'admin']
const ADMINISTRATORS: readonly Role[] = ['admin']

/** Accepts every request, while no credentials exist. */
export const OPEN: HttpAuthenticate = () => ACCEPTED
const ACCEPTED: Authentication = { status: 'accepted', principal: null }

export interface HttpAuthenticationOptions {
  readonly authenticate: HttpAuthenticate
  /** Of one principal, or of one address while no credentials exist; 0: no limit. */
  readonly requestsPerSecondMax: number
  /** Requests count at all gateways together; `null`: this gateway stands alone. */
  readonly spendTogether: SpendTogether | null
  /** A request was answered 429 for its rate. */
  readonly onLimited: () => void
  /** Milliseconds that never run backwards. */
  readonly monotonicMs: () => number
  readonly refusals: LoginRefusals
}

/**
 * The first hook of every request: authenticates it and checks the route's roles, before the body is read. A known
 * credential passes in the same turn. An address that sent many bad credentials gets no look-ups of secrets and tokens
 * for a while; those known in memory still pass.
 */
export function addAuthentication (
  app: HttpApp,
  { authenticate, requestsPerSecondMax, spendTogether, onLimited, monotonicMs, refusals }: HttpAuthenticationOptions
): void {
  const { rateLimitKeysMax: keysMax, badCredentialsPerSecondMax, badCredentialsBurst } = HTTP_LIMITS
  const requests = createRequestRate({ perSecond: requestsPerSecondMax, name: 'http', spendTogether, monotonicMs })
  const failures = createRateLimit({ perSecond: badCredentialsPerSecondMax, burst: badCredentialsBurst, keysMax, monotonicMs })

  const addressOf = (request: FastifyRequest) => toAddressKey(toAddress(request.ip))

  function limited (): Error {
    onLimited()
    return new HTTP_ERRORS.TooManyRequests()
  }

  function noteRefusal (request: FastifyRequest, reason: LoginRefusal, principal?: string): void {
    const { method, routeOptions: { url: route } } = request
    refusals.note({ transport: 'http', reason, principal, remoteAddress: toAddress(request.ip), method, route })
  }

  /** @returns the error to answer with; `null` when the request is admitted */
  function admit (request: FastifyRequest, authentication: Authentication): Error | null {
    if (authentication.status === 'unavailable') {
      return authentication.isUnasked === true ? limited() : new HTTP_ERRORS.AuthenticationUnavailable()
    }
    if (authentication.status === 'refused') {
      // A request without a credential is not a guess.
      const isGuess = request.headers.authorization !== undefined || request.headers['x-api-key'] !== undefined
      return isGuess && !failures.take(addressOf(request)) ? limited() : new HTTP_ERRORS.Unauthenticated()
    }
    const { principal, expiresAtMs = Infinity } = authentication
    if (requestsPerSecondMax > 0 && !requests.take(principal === null
      ? addressOf(request)
      : `principal ${principal.id}`)) {
      return limited()
    }
    request.principal = principal
    request.expiresAtMs = expiresAtMs
    if (principal === null) return null
    return rolesOf(request).includes(principal.role) ? null : new HTTP_ERRORS.Forbidden()
  }

  function onRequest (request: FastifyRequest, _reply: FastifyReply, done: (error?: Error) => void): void {
    const authentication = authenticate(toHeaders(request), () => !failures.isExhausted(addressOf(request)))
    const finish = (settled: Authentication) => {
      const error = admit(request, settled)
      const passes = isPublic(request) || (settled.status === 'unavailable' && answersUnverified(request))
      if (error === null || (passes && !(error instanceof HTTP_ERRORS.TooManyRequests))) return done()
      if (settled.status === 'unavailable' && settled.isUnasked !== true) noteRefusal(request, 'unavailable')
      if (settled.status === 'refused') noteRefusal(request, settled.reason, settled.principalId)
      done(error)
    }
    if (!(authentication instanceof Promise)) return finish(authentication)
    authentication.then(finish, done)
  }

  app.decorateRequest('principal', undefined)
  app.decorateRequest('expiresAtMs', Infinity)
  app.addHook('onRequest', onRequest)
  // A route may refuse a principal too.
  app.addHook('onError', (request, _reply, error, done) => {
    if (error instanceof HTTP_ERRORS.Forbidden) noteRefusal(request, 'not_allowed', request.principal?.id)
    done()
  })
}

function answersUnverified ({ routeOptions }: FastifyRequest): boolean {
  return routeOptions.config.answersUnverified === true
}

const BASIC = /^basic +([\w+/]+=*)$/i

/** With the password of Basic in the place of a token, where a browser may ask for it. */
function toHeaders (request: FastifyRequest): IncomingHttpHeaders {
  const { headers } = request
  const encoded = headers.authorization === undefined ? undefined : BASIC.exec(headers.authorization)?.[1]
  if (encoded === undefined || request.routeOptions.config.isForBrowsers !== true) return headers
  const pair = Buffer.from(encoded, 'base64').toString()
  return { ...headers, authorization: `Bearer ${pair.slice(pair.indexOf(':') + 1)}` }
}

/** Called only where it matters: Fastify builds `routeOptions` anew each time. */
function isPublic ({ routeOptions }: FastifyRequest): boolean {
  return routeOptions.config.access === 'public'
}

function rolesOf ({ method, routeOptions }: FastifyRequest): readonly Role[] {
  const { access } = routeOptions.config
  if (access !== undefined && access !== 'public') return access
  return method === 'GET' || method === 'HEAD' ? OPERATORS : ADMINISTRATORS
}

/** Whether a request on a public route may see the details for operators. */
export function isOperator ({ principal }: FastifyRequest): boolean {
  return principal === null || (principal !== undefined && OPERATORS.includes(principal.role))
}
