/**
 * JSON Web Tokens of an issuer that the operator trusts (OAuth 2.0 access tokens), through jose.
 *
 * The list of algorithms is ours, asymmetric only, and never the token's choice: `alg: none` and an HMAC keyed with the
 * public key are refused before a key is looked for. Issuer, audience and expiry must be there and must fit.
 * @see RFC 8725, JSON Web Token Best Current Practices
 */
import { decodeJwt, errors, jwtVerify } from 'jose'
import type { LoginRefusal } from '../../broker/connect/login-refusals.ts'
import { isPrincipalId, isRole, type Principal, type Role } from '../../schemas/principal.ts'
import type { KeySet } from './key-sets.ts'
import { SECURITY_LIMITS } from './limits.ts'
import { LruMap } from './lru-map.ts'
import { toProven } from './proofs.ts'
import { digestOf } from './secrets.ts'

/** Algorithms that may sign a token. */
export const TOKEN_ALGORITHMS: readonly string[] = [
  'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'
]

/** A JWS in compact form whose header is a JSON object. */
const TOKEN = /^eyJ[\w-]+\.[\w-]+\.[\w-]+$/

/**
 * Whether `text` has the form of a token, so that it is not taken for a password. A token with `alg: none` has no
 * signature, and so not this form.
 */
export function isToken (text: string): boolean {
  return text.length <= SECURITY_LIMITS.tokenBytesMax && TOKEN.test(text)
}

/** The principal of a token, and its expiry. */
export interface VerifiedToken {
  readonly principal: Principal
  /** Unix milliseconds. */
  readonly expiresAtMs: number
}

/** Why a token is not valid; `principalId` only where its signature is valid. */
export interface RefusedToken {
  readonly reason: LoginRefusal
  readonly principalId?: string
}

export type TokenCheck = VerifiedToken | RefusedToken | 'unavailable'

interface TokensOptions {
  readonly keys: Pick<KeySet, 'getKey' | 'has' | 'idOf' | 'isTrusted'>
  readonly issuer: string
  readonly audience: string
  /** Of {@link TOKEN_ALGORITHMS}. */
  readonly algorithms: readonly string[]
  /** Name of the claim that holds the role, as text or as a list with exactly one of ours. */
  readonly roleClaim: string
  /** The keys cannot be fetched. */
  readonly onFailure: (error: unknown) => void
}

/** Errors of jose that concern the key set and not the token. */
const KEY_SET_FAILURES: ReadonlySet<string> = new Set([
  errors.JWKSTimeout.code, errors.JWKSInvalid.code, errors.JOSEError.code
])

/**
 * Verifies tokens, and remembers valid ones for a minute: a client sends the same with each request.
 */
export function createTokens ({ keys, issuer, audience, algorithms, roleClaim, onFailure }: TokensOptions) {
  const remembered = new LruMap<string, VerifiedToken & { readonly untilMs: number }>({ sizeMax: SECURITY_LIMITS.tokensRememberedMax })

  async function verify (token: string, digest: string): Promise<TokenCheck> {
    let payload, key
    try {
      ({ payload, key } = await jwtVerify(token, keys.getKey, {
        issuer,
        audience,
        algorithms: [...algorithms],
        requiredClaims: ['exp', 'sub'],
        clockTolerance: SECURITY_LIMITS.tokenClockToleranceS
      }))
    } catch (error) {
      if (error instanceof errors.JOSEError && !KEY_SET_FAILURES.has(error.code)) return toRefused(error, token, issuer)
      onFailure(error)
      return 'unavailable'
    }
    const nowMs = Date.now()
    const expiresAtMs = (payload.exp as number) * 1000
    const role = toRole(payload[roleClaim])
    const { sub } = payload as { sub?: unknown }
    // RFC 7519 §4.1.2 demands a string, which jose does not check: a number would pass as an id here and differ from
    // every user name.
    if (role === null || typeof sub !== 'string' || !isPrincipalId(sub)) return { reason: 'invalid_token' }
    if (expiresAtMs <= nowMs) return { reason: 'expired', principalId: sub }
    const keyId = await keys.idOf(key)
    // The key was removed while the token was verified.
    if (!keys.has(keyId)) return { reason: 'wrong_signature' }
    const principal = toProven(sub, role, { kind: 'token', keyId })
    remembered.set(digest, {
      principal,
      expiresAtMs,
      untilMs: Math.min(expiresAtMs, nowMs +
      SECURITY_LIMITS.tokenRememberedMs)
    })
    return { principal, expiresAtMs }
  }

  function recall (digest: string): VerifiedToken | undefined {
    if (!keys.isTrusted) remembered.clear()
    const known = remembered.get(digest)
    return known !== undefined && known.untilMs > Date.now() ? known : undefined
  }

  return {
    /** At once when it was verified within the last minute. @param token - has the form of one, see {@link isToken} */
    check (token: string): TokenCheck | Promise<TokenCheck> {
      const digest = digestOf(token)
      return recall(digest) ?? verify(token, digest)
    },

    /** Whether {@link check} answers at once. */
    isKnown: (token: string): boolean => recall(digestOf(token)) !== undefined,

    /** Forgets the tokens that a removed key has signed. */
    forget (): void {
      remembered.clear()
    }
  }
}

export type Tokens = ReturnType<typeof createTokens>

/** Converts an error of jose to the reason that is logged. jose checks claims once the signature is verified. */
function toRefused (error: errors.JOSEError, token: string, issuer: string): RefusedToken {
  if (error instanceof errors.JWTExpired || error instanceof errors.JWTClaimValidationFailed) {
    const { claim, payload: { sub } } = error
    const reason = error instanceof errors.JWTExpired ? 'expired' : REASONS_BY_CLAIM[claim] ?? 'invalid_token'
    return { reason, ...(typeof sub === 'string' && isPrincipalId(sub) ? { principalId: sub } : {}) }
  }
  if (!(error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWSSignatureVerificationFailed)) {
    return { reason: 'invalid_token' }
  }
  // A token of another issuer is signed with another key. Not verified, so it is used for the log only.
  return { reason: unverifiedIssuerOf(token) === issuer ? 'wrong_signature' : 'wrong_issuer' }
}

const REASONS_BY_CLAIM: Readonly<Record<string, LoginRefusal>> = { iss: 'wrong_issuer', aud: 'wrong_audience' }

function unverifiedIssuerOf (token: string): unknown {
  try {
    return decodeJwt(token).iss
  } catch {
    return undefined
  }
}

function toRole (claim: unknown): Role | null {
  if (isRole(claim)) return claim
  if (!Array.isArray(claim)) return null
  const [role, ...others] = claim.filter(isRole)
  return role !== undefined && others.length === 0 ? role : null
}
