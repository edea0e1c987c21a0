/**
 * The principals and their credentials, as PostgreSQL has them, in a bounded cache.
 *
 * A cached principal is answered at once, without PostgreSQL; so known devices are accepted while it is away. Others
 * are looked up, many in one query. Changes come from `changes.ts`: a changed entry is dropped and looked up anew at
 * its next use. A change that arrives during a look-up makes the answer worthless, because the row may have been read
 * before the change; so the look-up is repeated.
 *
 * Unknown ids and secrets are remembered too, for half a minute, in a smaller cache of their own. So guessing neither
 * reaches PostgreSQL twice nor evicts existing principals.
 */
import type { StoredPrincipal } from '../../db/queries/principal-columns.ts'
import type { KnownPassword, KnownPrincipal, KnownSecret } from './known-principal.ts'
import { SECURITY_LIMITS } from './limits.ts'
import { createLookups } from './lookups.ts'
import { LruMap } from './lru-map.ts'
import { toProven } from './proofs.ts'

/** `undefined`: no such principal. */
export type Answer = KnownPrincipal | undefined | 'unavailable'

interface DirectoryOptions {
  readonly findByIds: (ids: readonly string[]) => Promise<readonly StoredPrincipal[]>
  /** @param digests - SHA-256 of secrets, one byte a character */
  readonly findByDigests: (digests: readonly string[]) => Promise<readonly StoredPrincipal[]>
  readonly onFailure: (error: unknown) => void
  /** Instead of those of {@link SECURITY_LIMITS}. */
  readonly principalsMax?: number
  readonly unknownMax?: number
  readonly unknownAgeMaxMs?: number
}

const NONE: readonly never[] = []

/** Attempts of a look-up that changes overtake; after that the client is told to retry. */
const ATTEMPTS_MAX = 3

/** A change of these, or of anybody, that came while queries were under way. */
interface Change {
  readonly generation: number
  readonly ids: ReadonlySet<string> | 'all'
}

/** The cache and its look-ups. Nothing runs by itself; see `changes.ts` for what calls `drop` and `refresh`. */
export function createDirectory (options: DirectoryOptions) {
  const { findByIds, findByDigests, onFailure, unknownAgeMaxMs = SECURITY_LIMITS.unknownAgeMaxMs } = options
  const { principalsMax = SECURITY_LIMITS.principalsMax, unknownMax = SECURITY_LIMITS.unknownMax } = options
  const idsByDigest = new Map<string, string>()
  const known = new LruMap<string, KnownPrincipal>({ sizeMax: principalsMax, onEvict: forgetSecrets })
  /** Until when an id or a secret counts as unknown, by the monotonic clock. */
  const unknownIds = new LruMap<string, number>({ sizeMax: unknownMax })
  const unknownDigests = new LruMap<string, number>({ sizeMax: unknownMax })
  /** Secrets that had a principal until a change. A revocation deletes them, and the log has to name the principal. */
  const former = new LruMap<string, string>({ sizeMax: unknownMax })
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
  /** For as long as a query may be under way. */
  let changes: Change[] = []
  let querying = 0

  async function remember (
    query: Promise<readonly StoredPrincipal[]>, keys: readonly string[], unknown: LruMap<string, number>,
    keysOf: (entry: KnownPrincipal) => readonly string[]
  ): Promise<ReadonlyMap<string, KnownPrincipal>> {
    const startedAt = generation
    querying++
    try {
      const found = new Map<string, KnownPrincipal>()
      for (const row of await query) {
        const entry = toKnown(row)
        for (const key of keysOf(entry)) found.set(key, entry)
        if (!isOutdated(entry.principal.id, startedAt)) put(entry)
      }
      const untilMs = performance.now() + unknownAgeMaxMs
      for (const key of keys) {
        // The ids of a change do not tell which digests now have a principal.
        if (!found.has(key) && !(unknown === unknownIds ? isOutdated(key, startedAt) : generation !== startedAt)) {
          unknown.set(key, untilMs)
        }
      }
      return found
    } finally {
      querying--
      if (querying === 0) changes = []
    }
  }

  function isOutdated (id: string, since: number): boolean {
    return generation !== since &&
      changes.some((change) => change.generation > since && (change.ids === 'all' || change.ids.has(id)))
  }

  function noteChange (ids: Change['ids']): void {
    generation++
    if (querying > 0) changes.push({ generation, ids })
    unknownDigests.clear()
  }

  function put (entry: KnownPrincipal): void {
    const { id } = entry.principal
    remove(id)
    unknownIds.delete(id)
    known.set(id, entry)
    for (const { digest } of entry.secrets) {
      idsByDigest.set(digest, id)
      former.delete(digest)
    }
  }

  function remove (id: string): void {
    const entry = known.delete(id)
    if (entry === undefined) return
    forgetSecrets(entry)
    for (const { digest } of entry.secrets) former.set(digest, id)
  }

  function forgetSecrets ({ secrets }: KnownPrincipal): void {
    for (const { digest } of secrets) idsByDigest.delete(digest)
  }

  function isUnknown (unknown: LruMap<string, number>, key: string): boolean {
    const untilMs = unknown.get(key)
    return untilMs !== undefined && performance.now() < untilMs
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
      if (value === undefined && lookups === byId && isUnknown(unknownIds, key)) return value
    }
    return 'unavailable'
  }

  return {
    /** By id: at once when it is known, or known to be nobody's. @param id - without U+0000 */
    find (id: string): Answer | Promise<Answer> {
      const entry = known.get(id)
      if (entry !== undefined) return entry
      return isUnknown(unknownIds, id) ? undefined : ask(byId, id)
    },

    /** By the digest of a secret, likewise; the secret may have expired. */
    findByDigest (digest: string): Answer | Promise<Answer> {
      const id = idsByDigest.get(digest)
      if (id !== undefined) return known.get(id)
      return isUnknown(unknownDigests, digest) ? undefined : ask(byDigest, digest)
    },

    /** The former principal of a deleted secret's digest, as far as this process knows. */
    formerOwnerOf: (digest: string): string | undefined => former.get(digest),

    /** Whether {@link find} of an entry's id would still return this entry, after a slow check of it. */
    isCurrent (entry: KnownPrincipal): boolean {
      return known.get(entry.principal.id) === entry
    },

    /** The cached entry of an id, without a query; `null`: known not to exist; `undefined`: not cached. */
    peek (id: string): KnownPrincipal | null | undefined {
      return known.get(id) ?? (isUnknown(unknownIds, id) ? null : undefined)
    },

    /** These changed: what is known of them is no longer true. */
    drop (ids: readonly string[]): void {
      noteChange(new Set(ids))
      for (const id of ids) {
        unknownIds.delete(id)
        remove(id)
      }
    },

    /**
     * Any principal may have changed: cached entries stay until they are refreshed, the unknown ids and secrets are
     * dropped.
     */
    doubt (): void {
      noteChange('all')
      unknownIds.clear()
    },

    /**
     * Asks anew; until the answer what is known counts.
     * @param ids - at most `lookupBatchMax`
     * @throws the error of pg
     */
    async refresh (ids: readonly string[]): Promise<void> {
      const found = await remember(findByIds(ids), ids, unknownIds, (entry) => [entry.principal.id])
      for (const id of ids) if (!found.has(id)) remove(id)
    },

    /** Ids of all that are known, now. */
    ids: (): string[] => [...known.keys()],

    get size (): number {
      return known.size
    }
  }
}

export type Directory = ReturnType<typeof createDirectory>

function toKnown (row: StoredPrincipal): KnownPrincipal {
  const { id, role } = row
  const secrets: KnownSecret[] = []
  const passwords: KnownPassword[] = []
  for (const { secretSha256, passwordArgon2id, expiresAt } of row.credentials) {
    const expiresAtMs = expiresAt === null ? Infinity : expiresAt * 1000
    if (secretSha256 !== null) {
      const digest = Buffer.from(secretSha256, 'hex').toString('latin1')
      secrets.push({ digest, expiresAtMs, principal: toProven(id, role, { kind: 'secret', digest }) })
    }
    if (passwordArgon2id !== null) {
      passwords.push({
        argon2id: passwordArgon2id,
        expiresAtMs,
        principal: toProven(id, role, { kind: 'password', argon2id: passwordArgon2id })
      })
    }
  }
  return {
    principal: Object.freeze({ id, role }),
    isRevoked: row.revokedAt !== null,
    secrets: secrets.length === 0 ? NONE : secrets,
    passwords: passwords.length === 0 ? NONE : passwords
  }
}
