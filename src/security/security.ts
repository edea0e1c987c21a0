import { join } from 'node:path'
import type { Kysely } from 'kysely'
import type { Logger } from 'pino'
import { forgetPrincipalChanges } from '../../db/queries/forget-principal-changes.ts'
import { findPrincipals } from '../../db/queries/find-principals.ts'
import { findPrincipalsBySecret } from '../../db/queries/find-principals-by-secret.ts'
import { readChangeState } from '../../db/queries/read-change-state.ts'
import { readPrincipalState } from '../../db/queries/read-principal-state.ts'
import { selectChangedPrincipals } from '../../db/queries/select-changed-principals.ts'
import type { Tables } from '../../db/tables.ts'
import type { Broker } from '../../broker/broker.ts'
import { LoginRefusals } from '../../broker/connect/login-refusals.ts'
import { createLogThrottle } from '../../broker/log-throttle.ts'
import type { Principal } from '../../schemas/principal.ts'
import type { Metrics } from '../metrics/metrics.ts'
import { createAccess } from './access.ts'
import { createAuthenticator } from './authenticator.ts'
import { createChanges } from './changes.ts'
import { createIsCurrent } from './current-principals.ts'
import { createDirectory } from './directory.ts'
import { createKeySet, type KeySet } from './key-sets.ts'
import { createPasswords } from './passwords.ts'
import { tokenKeyOf } from './proofs.ts'
import { createReviews } from './reviews.ts'
import { toDigestBytes } from './secrets.ts'
import { addSecurityMetrics } from './security-metrics.ts'
import { createTokens } from './tokens.ts'

/** Tokens that are trusted. */
export interface TokenConfig {
  /** File or URL of the issuer's keys. */
  readonly jwks: string
  readonly issuer: string
  readonly audience: string
  readonly algorithms: readonly string[]
  readonly roleClaim: string
}

interface SecurityOptions {
  readonly kysely: Kysely<Tables>
  /** `null`: nothing is remembered for a start while PostgreSQL is away. */
  readonly dataDir: string | null
  readonly host: string
  readonly isLoopback: boolean
  /** Trusted proxies may bring clients of other machines. */
  readonly isProxied: boolean
  readonly isAnonymousAllowed: boolean
  readonly tokens: TokenConfig | null
  /** Clients may prove themselves with a certificate. */
  readonly hasClientCertificates: boolean
  readonly metrics: Metrics
  readonly logger: Logger
}

/** Actions of a holder of connections when credentials change: of the broker, and of the streams of events and of gRPC. */
export type Guarded = Pick<Broker, 'disconnect' | 'principals' | 'review'>

const FAILURES_LOG_INTERVAL_MS = 10_000
const FORGET_INTERVAL_MS = 600_000

/**
 * Composes authentication. Does not ask PostgreSQL before `start`. Until then, and while PostgreSQL is away, the stored
 * answer of an earlier run and the cached principals count.
 * @throws when the file of the issuer's keys cannot be read
 */
export async function createSecurity (options: SecurityOptions) {
  const { kysely, dataDir, metrics, logger, tokens } = options
  const guarded: Guarded[] = []
  const connections = toOne(guarded)
  const throttles = {
    lookup: createLogThrottle({ intervalMs: FAILURES_LOG_INTERVAL_MS }),
    keys: createLogThrottle({ intervalMs: FAILURES_LOG_INTERVAL_MS })
  }
  const logins = {
    mqtt: { accepted: 0, refused: 0, unavailable: 0 },
    http: { accepted: 0, refused: 0, unavailable: 0 },
    grpc: { accepted: 0, refused: 0, unavailable: 0 }
  }
  const refusals = new LoginRefusals(logger)
  const onFailure = (error: unknown) => {
    throttles.keys((leftOut) => {
      logger.warn({ err: error, leftOut },
        'the keys of the tokens\' issuer cannot be fetched')
    })
  }
  const hasOtherCredentials = tokens !== null || options.hasClientCertificates
  const access = createAccess({
    ...options,
    file: dataDir === null ? null : join(dataDir, 'access.json'),
    hasOtherCredentials,
    onClosed: () => { connections.disconnect((principal) => principal === null) }
  })
  await access.load()
  const directory = createDirectory({
    findByIds: (ids) => findPrincipals(kysely, ids),
    findByDigests: (digests) => findPrincipalsBySecret(kysely, digests.map(toDigestBytes)),
    onFailure: (error) => {
      throttles.lookup((leftOut) => {
        logger.warn({ err: error, leftOut },
          'PostgreSQL could not be asked for credentials; cached ones stay valid')
      })
    }
  })
  const { untilOf, ...reviews } = createReviews({ directory, connections })
  const changes = createChanges({
    readState: (since) => readChangeState(kysely, since),
    selectChanged: (page) => selectChangedPrincipals(kysely, page),
    onState: access.update,
    ...reviews,
    logger
  })
  const passwords = createPasswords()
  const keys = tokens === null
    ? null
    : await createKeySet(tokens.jwks, {
      onRemoved: () => {
        verifier?.forget()
        connections.review((principal) => isOfRemovedKey(principal, keys) ? 0 : undefined)
      },
      onFailure
    })
  const verifier = tokens === null || keys === null ? null : createTokens({ ...tokens, keys, onFailure })
  const isCurrent = createIsCurrent({ access, directory, hasOtherCredentials })
  const authenticator = createAuthenticator({
    mode: () => access.mode,
    directory,
    passwords,
    tokens: verifier,
    onLogin: ({ transport, outcome }) => { logins[transport][outcome]++ }
  })
  addSecurityMetrics(metrics, () => ({
    logins,
    refusals: refusals.counts,
    isOpen: access.mode === 'open',
    principalsKnown: directory.size,
    passwordsWaiting: passwords.waiting,
    keysAgeS: keys === null || keys.ageS === Infinity ? 0 : keys.ageS
  }))

  return {
    tasks: [{
      name: 'log of credential changes', intervalMs: FORGET_INTERVAL_MS, run: () => forgetPrincipalChanges(kysely)
    }],
    ofMqtt: { authenticate: authenticator.authenticateMqtt, isCurrent },
    authenticateHttp: authenticator.authenticateHttp,
    authenticateGrpc: authenticator.authenticateGrpc,
    refusals,

    /** From now on its connections end with their credentials. Called before `start`. */
    guard (one: Guarded): void {
      guarded.push(one)
    },

    /**
     * Unix milliseconds until which an authenticated principal may stay, by its present state. For a connection that
     * is guarded a moment after it was authenticated, and may have missed a review in between. `undefined`: nothing has
     * changed.
     */
    untilOf: (principal: Principal | null) => isOfRemovedKey(principal, keys) ? 0 : untilOf(principal),

    /** Asks PostgreSQL for the first time, and from then on each second. @throws the error of pg */
    async start (): Promise<void> {
      access.update((await readPrincipalState(kysely)).isEmpty)
      changes.start()
      keys?.start()
    },

    async stop (): Promise<void> {
      await changes.stop()
      await keys?.stop()
      await access.stop()
    },

    /** PostgreSQL holds no credentials, and this binding needs some. */
    get isExposed (): boolean {
      return access.mode === 'exposed' && access.isConfirmed
    },

    /**
     * Whether any client can be accepted now: the gateway is open, PostgreSQL answers, or some principals are cached.
     */
    get isAdmitting (): boolean {
      if (access.mode !== 'closed') return access.mode === 'open'
      return (access.isConfirmed && !changes.isBlind) || directory.size > 0
    },

    /** Shown in readiness. */
    warnings (): string[] {
      const blind = changes.isBlind
        ? ['changes of credentials cannot be read; cached credentials stay valid until they can']
        : []
      return [...access.warnings(), ...blind, ...keyWarnings(keys)]
    }
  }
}

/** See {@link createSecurity}. */
export type Security = Awaited<ReturnType<typeof createSecurity>>

/** All of them as one, also those that are added later. */
function toOne (guarded: readonly Guarded[]): Guarded {
  return {
    disconnect (predicate) { for (const one of guarded) one.disconnect(predicate) },
    principals: () => guarded.flatMap((one) => one.principals()),
    review (review, ids) { for (const one of guarded) one.review(review, ids) }
  }
}

function isOfRemovedKey (principal: Principal | null, keys: KeySet | null): boolean {
  const keyId = principal === null ? undefined : tokenKeyOf(principal)
  return keyId !== undefined && keys?.has(keyId) === false
}

function keyWarnings (keys: KeySet | null): string[] {
  if (keys === null || !keys.isFailing) return []
  return [keys.isTrusted
    ? `the keys of the tokens' issuer cannot be read; those of ${Math.round(keys.ageS)} s ago are trusted for an hour`
    : 'the keys of the tokens\' issuer cannot be read, so no token can be checked']
}
