/**
 * The principals and their credentials, as PostgreSQL has them, in a bounded cache.
 *
 * Whoever is in the cache is answered at once, without PostgreSQL; this is what lets known devices in while it is away.
 * Whoever is not is looked up, many in one query. Changes come from `changes.ts`: what changed is dropped here and looked
 * up anew when it is next asked for. A change that arrives while a look-up is under way makes its answer worthless, because the
 * row may have been read before the change; so it is asked again, unless the row bears the stamp of that very change: who was
 * added a moment ago, or before a gateway started, is known as told already.
 *
 * That an id or a secret belongs to nobody is remembered too, in a smaller cache of its own, so that guessing neither
 * reaches PostgreSQL twice nor pushes out those that exist.
 */
import type { StoredPrincipal } from '../../db/queries/principal-columns.ts'
import type { ChangedPrincipal } from '../../db/queries/select-changed-principals.ts'
import type { Principal } from '../../schemas/principal.ts'
import { SECURITY_LIMITS } from './limits.ts'
import { createLookups } from './lookups.ts'
import { LruMap } from './lru-map.ts'

/** The digest of a secret, with its end. */
export interface KnownSecret {
  /** SHA-256, one byte a character. */
  readonly digest: string
  /** Unix milliseconds; `Infinity`: never. */
  readonly expiresAtMs: number
}

/** The hash of a password, with its end. */
export interface KnownPassword {
  /** PHC string. */
  readonly argon2id: string
  readonly expiresAtMs: number
}

/** A principal as the cache has it; never changed, only replaced. */
export interface KnownPrincipal {
  readonly principal: Principal
  /** Unix microseconds by PostgreSQL's clock; the stamp of the state that this is. */
  readonly changedAtUs: number
  readonly isRevoked: boolean
  readonly secrets: readonly KnownSecret[]
  readonly passwords: readonly KnownPassword[]
}

/** `undefined`: nobody. */
export type Answer = KnownPrincipal | undefined | 'unavailable'

interface DirectoryOptions {
  readonly findByIds: (ids: readonly string[]) => Promise<readonly StoredPrincipal[]>
  /** @param digests - SHA-256 of secrets, one byte a character */
  readonly findByDigests: (digests: readonly string[]) => Promise<readonly StoredPrincipal[]>
  readonly onFailure: (error: unknown) => void
  /** Instead of those of {@link SECURITY_LIMITS}. */
  readonly principalsMax?: number
  readonly unknownMax?: number
}

const NONE: readonly never[] = []

/** A look-up that a change overtakes is asked again so often; who changes more often than that is told to come back. */
const ATTEMPTS_MAX = 3

/** The cache and its look-ups. Nothing runs by itself; see `changes.ts` for what calls `drop`. */
export function createDirectory (options: DirectoryOptions) {
  const { findByIds, findByDigests, onFailure } = options
  const { principalsMax = SECURITY_LIMITS.principalsMax, unknownMax = SECURITY_LIMITS.unknownMax } = options
  const idsByDigest = new Map<string, string>()
  const known = new LruMap<string, KnownPrincipal>({ sizeMax: principalsMax, onEvict: forgetSecrets })
  const unknownIds = new LruMap<string, true>({ sizeMax: unknownMax })
  const unknownDigests = new LruMap<string, true>({ sizeMax: unknownMax })
  /** Counts changes, so that a look-up can tell whether one came while it was under way. */
  let generation = 0
  const { lookupDelayMs: delayMs, lookupBatchMax: batchMax, lookupsWaitingMax: waitingMax } = SECURITY_LIMITS
  const bounds = { onFailure, delayMs, batchMax, waitingMax }

  const byId = createLookups<KnownPrincipal>({
    query: async (ids) => await remember(findByIds(ids), ids, unknownIds, (entry) => [entry.principal.id]),
    ...bounds
  })
  const byDigest = createLookups<KnownPrincipal>({
    query: async (digests) => await remember(findByDigests(digests), digests, unknownDigests,
      (entry) => entry.secrets.map(({ digest }) => digest)),
    ...bounds
  })
  /** Id → stamp of what changed, by generation, for as long as a query may be under way. */
  let changes: Array<{ readonly generation: number, readonly stamps: ReadonlyMap<string, number> }> = []
  /** Of each principal that was handed out. */
  const stamps = new WeakMap<Principal, number>()
  let querying = 0

  async function remember (
    query: Promise<readonly StoredPrincipal[]>, keys: readonly string[], unknown: LruMap<string, true>,
    keysOf: (entry: KnownPrincipal) => readonly string[]
  ): Promise<ReadonlyMap<string, KnownPrincipal>> {
    const startedAt = generation
    querying++
    try {
      const found = new Map<string, KnownPrincipal>()
      for (const row of await query) {
        const entry = toKnown(row)
        for (const key of keysOf(entry)) found.set(key, entry)
        if (!isOutdated(entry, startedAt)) put(entry)
      }
      for (const key of keys) {
        if (!found.has(key) && generation === startedAt) unknown.set(key, true)
      }
      return found
    } finally {
      querying--
      if (querying === 0) changes = []
    }
  }

  function isOutdated ({ principal: { id }, changedAtUs }: KnownPrincipal, since: number): boolean {
    return generation !== since && changes.some((change) => change.generation > since && (change.stamps.get(id) ?? changedAtUs) !== changedAtUs)
  }

  function put (entry: KnownPrincipal): void {
    const { id } = entry.principal
    const before = known.delete(id)
    if (before !== undefined) forgetSecrets(before)
    known.set(id, entry)
    stamps.set(entry.principal, entry.changedAtUs)
    for (const { digest } of entry.secrets) idsByDigest.set(digest, id)
  }

  function forgetSecrets ({ secrets }: KnownPrincipal): void {
    for (const { digest } of secrets) idsByDigest.delete(digest)
  }

  /** Asks until the answer is no older than the last change of what it holds. */
  async function ask (lookups: typeof byId, key: string): Promise<Answer> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const startedAt = generation
      const lookup = await lookups.find(key)
      if (lookup.status === 'unavailable') return 'unavailable'
      const { value } = lookup
      if (generation === startedAt) return value
      if (value !== undefined && known.get(value.principal.id) === value) return value
    }
    return 'unavailable'
  }

  return {
    /** By id: at once when it is known, or known to be nobody's. @param id - without U+0000 */
    find (id: string): Answer | Promise<Answer> {
      const entry = known.get(id)
      if (entry !== undefined) return entry
      return unknownIds.get(id) === true ? undefined : ask(byId, id)
    },

    /** By the digest of a secret, likewise; the secret may have expired. */
    findByDigest (digest: string): Answer | Promise<Answer> {
      const id = idsByDigest.get(digest)
      if (id !== undefined) return known.get(id)
      return unknownDigests.get(digest) === true ? undefined : ask(byDigest, digest)
    },

    /** Whether {@link find} of an entry's id would still give this entry, for who has taken a while to look at it. */
    isCurrent (entry: KnownPrincipal): boolean {
      return known.get(entry.principal.id) === entry
    },

    /**
     * Whether a principal was handed out in the state of this change. Equal and not newer: PostgreSQL's clock may go back, and then a
     * newer state has the smaller stamp.
     */
    isOf (principal: Principal, { changedAtUs }: ChangedPrincipal): boolean {
      return stamps.get(principal) === changedAtUs
    },

    /** These changed: what is known of them, but in that state, is no longer true. */
    drop (changed: readonly ChangedPrincipal[]): void {
      generation++
      if (querying > 0) changes.push({ generation, stamps: new Map(changed.map(({ id, changedAtUs }) => [id, changedAtUs])) })
      for (const { id, changedAtUs } of changed) {
        unknownIds.delete(id)
        if (known.get(id)?.changedAtUs === changedAtUs) continue
        const entry = known.delete(id)
        if (entry !== undefined) forgetSecrets(entry)
      }
      // Which of the digests now belong to somebody, the ids do not tell.
      unknownDigests.clear()
    },

    get size (): number {
      return known.size
    }
  }
}

export type Directory = ReturnType<typeof createDirectory>

function toKnown (row: StoredPrincipal): KnownPrincipal {
  const secrets: KnownSecret[] = []
  const passwords: KnownPassword[] = []
  for (const { secretSha256, passwordArgon2id, expiresAt } of row.credentials) {
    const expiresAtMs = expiresAt === null ? Infinity : expiresAt * 1000
    if (secretSha256 !== null) secrets.push({ digest: Buffer.from(secretSha256, 'hex').toString('latin1'), expiresAtMs })
    if (passwordArgon2id !== null) passwords.push({ argon2id: passwordArgon2id, expiresAtMs })
  }
  return {
    principal: Object.freeze({ id: row.id, role: row.role }),
    changedAtUs: Math.round(row.changedAt * 1e6),
    isRevoked: row.revokedAt !== null,
    secrets: secrets.length === 0 ? NONE : secrets,
    passwords: passwords.length === 0 ? NONE : passwords
  }
}
