import { Metadata, type ServerInterceptingCallInterface, type ServerInterceptor, status } from '@grpc/grpc-js'
import { toAddressKey } from '../../broker/listen/address-key.ts'
import { type IsTrusted, toAddress } from '../../broker/listen/address.ts'
import type { Authentication } from '../../broker/connect/credentials.ts'
import type { LoginRefusal, LoginRefusals } from '../../broker/connect/login-refusals.ts'
import type { Role } from '../../schemas/principal.ts'
import { READERS } from '../http/authentication.ts'
import { HTTP_ERRORS } from '../http/errors.ts'
import { HTTP_LIMITS } from '../http/limits.ts'
import { toForwardedAddress } from '../http/origin.ts'
import { createRateLimit, createRequestRate, type SpendTogether } from '../http/rate-limit.ts'
import type { Authenticator } from '../security/authenticator.ts'
import { type Admit, AdmittedCall, type EndStatus } from './admitted-call.ts'
import { certificateNamesOf, encodingOf, streamOf } from './library-call.ts'
import { GRPC_LIMITS } from './limits.ts'

/** Authenticates a call by its metadata, or by the client certificate of its connection. */
export type GrpcAuthenticate = Authenticator['authenticateGrpc']

interface AdmissionOptions {
  readonly authenticate: GrpcAuthenticate
  readonly isStopping: () => boolean
  /** Peers whose `x-forwarded-for` is believed. */
  readonly isProxy: IsTrusted
  /** Calls of one principal, or of one address while no credentials exist; 0: no limit. */
  readonly requestsPerSecondMax: number
  /** Calls count at all gateways together; `null`: this gateway stands alone. */
  readonly spendTogether: SpendTogether | null
  readonly refusals: LoginRefusals
}

/** Calls that were refused before a message was read. */
export interface AdmissionCounts {
  /** Too many calls were under way. */
  refused: number
  /** For their rate. */
  limited: number
}

/** A device for itself, an administrator for any. */
const SENDERS: readonly Role[] = ['device', 'admin']

/** The beginning of a path → roles that may call it; the health service needs no credentials. */
const ROLES: ReadonlyArray<readonly [prefix: string, roles: readonly Role[]]> = [
  ['/vital.v1.Ingest/', SENDERS],
  ['/grpc.reflection.', READERS]
]
const HEALTH = '/grpc.health.v1.Health/'

const toStatus = (code: status, error: { readonly code: string, readonly message: string }): EndStatus =>
  ({ code, details: `${error.code}: ${error.message}` })

const STOPPING: EndStatus = { code: status.UNAVAILABLE, details: 'the gateway stops' }
const FULL: EndStatus = { code: status.UNAVAILABLE, details: 'too many calls are under way; call again later' }
const UNAUTHENTICATED = toStatus(status.UNAUTHENTICATED, new HTTP_ERRORS.Unauthenticated())
const FORBIDDEN = toStatus(status.PERMISSION_DENIED, new HTTP_ERRORS.Forbidden())
const UNVERIFIED = toStatus(status.UNAVAILABLE, new HTTP_ERRORS.AuthenticationUnavailable())
const LIMITED = toStatus(status.RESOURCE_EXHAUSTED, new HTTP_ERRORS.TooManyRequests())

/**
 * Decides about each call before its first message is read, by the rules of HTTP: room for it, its credential, the
 * rate, the role.
 */
export function createAdmission (options: AdmissionOptions) {
  const { authenticate, isStopping, isProxy, requestsPerSecondMax, spendTogether, refusals } = options
  const { rateLimitKeysMax: keysMax, badCredentialsPerSecondMax, badCredentialsBurst } = HTTP_LIMITS
  const requests = createRequestRate({ perSecond: requestsPerSecondMax, name: 'grpc', spendTogether })
  const failures = createRateLimit({ perSecond: badCredentialsPerSecondMax, burst: badCredentialsBurst, keysMax })
  const counts: AdmissionCounts = { refused: 0, limited: 0 }
  const underWay = { calls: 0, health: 0 }
  const admitted = new WeakMap<Metadata, AdmittedCall>()

  /** @returns whether there was room */
  function takePlace (call: ServerInterceptingCallInterface, kind: keyof typeof underWay): boolean {
    if (underWay[kind] >= (kind === 'calls' ? GRPC_LIMITS.callsMax : GRPC_LIMITS.healthCallsMax)) {
      counts.refused++
      return false
    }
    underWay[kind]++
    streamOf(call).once('close', () => { underWay[kind]-- })
    return true
  }

  function limited (): EndStatus {
    counts.limited++
    return LIMITED
  }

  /** @returns the status that ends the call; `null` when it is admitted */
  function judge (call: AdmittedCall, authentication: Authentication, caller: Caller): EndStatus | null {
    const note = (reason: LoginRefusal, principal?: string) => {
      refusals.note({ transport: 'grpc', reason, principal, remoteAddress: caller.address, route: caller.path })
    }
    if (authentication.status === 'unavailable') {
      if (authentication.isUnasked === true) return limited()
      note('unavailable')
      return UNVERIFIED
    }
    if (authentication.status === 'refused') {
      note(authentication.reason, authentication.principalId)
      // A call without a credential is not a guess.
      const isGuess = authentication.reason !== 'no_credentials'
      return isGuess && !failures.take(toAddressKey(caller.address)) ? limited() : UNAUTHENTICATED
    }
    const { principal, expiresAtMs = Infinity } = authentication
    const key = principal === null ? toAddressKey(caller.address) : `principal ${principal.id}`
    if (!requests.take(key)) return limited()
    call.principal = principal
    call.expiresAtMs = expiresAtMs
    if (principal === null || caller.roles.includes(principal.role)) return null
    note('not_allowed', principal.id)
    return FORBIDDEN
  }

  function admitCaller (call: AdmittedCall, metadata: Metadata, caller: Caller, proceed: () => void): void {
    const decide = (authentication: Authentication) => {
      const refusal = judge(call, authentication, caller)
      if (refusal !== null) {
        call.end(refusal)
        return
      }
      admitted.set(metadata, call)
      proceed()
    }
    const headers = { authorization: firstOf(metadata, 'authorization'), 'x-api-key': firstOf(metadata, 'x-api-key') }
    const mayLookUp = () => !failures.isExhausted(toAddressKey(caller.address))
    const authentication = authenticate(headers, certificateNamesOf(call.library), mayLookUp)
    if (!(authentication instanceof Promise)) decide(authentication)
    // Authentication never rejects.
    else authentication.then(decide, () => { call.end(UNVERIFIED) })
  }

  const admitAt = (path: string): Admit => (call, metadata, proceed) => {
    const isHealth = path.startsWith(HEALTH)
    if (isStopping()) return call.end(STOPPING)
    if (!takePlace(call.library, isHealth ? 'health' : 'calls')) return call.end(FULL)
    if (encodingOf(call.library) !== 'identity') return call.end(toCompressed())
    if (isHealth) return proceed()
    const peer = toAddress(call.library.getConnectionInfo().remoteAddress)
    const address = toForwardedAddress(peer, firstOf(metadata, 'x-forwarded-for'), isProxy)
    const roles = ROLES.find(([prefix]) => path.startsWith(prefix))?.[1] ?? []
    admitCaller(call, metadata, { path, address, roles }, proceed)
  }

  const interceptor: ServerInterceptor = ({ path }, next) => new AdmittedCall(next, admitAt(path))

  return {
    interceptor,
    counts,
    /** The admitted call behind a handler's. */
    callOf (metadata: Metadata): AdmittedCall {
      const call = admitted.get(metadata)
      if (call === undefined) throw new Error('a handler was called without admission')
      return call
    }
  }
}

interface Caller {
  /** Of the method. */
  readonly path: string
  readonly address: string
  /** Roles that may call the method. */
  readonly roles: readonly Role[]
}

function firstOf (metadata: Metadata, name: string): string | undefined {
  const [value] = metadata.get(name)
  return value === undefined ? undefined : String(value)
}

/** The gRPC specification (Compression) asks for this status, and for the encodings that are accepted. */
function toCompressed (): EndStatus {
  const metadata = new Metadata()
  metadata.set('grpc-accept-encoding', 'identity')
  return { code: status.UNIMPLEMENTED, details: 'messages must not be compressed', metadata }
}
