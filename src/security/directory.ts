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
import { createPrincipalCache } from './principal-cache.ts'
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

/** The cache and its look-ups. Nothing runs by itself; `changes.ts` calls `drop`, `doubt` and `refresh`. */
export function createDirectory (options: DirectoryOptions) {
  const { findByIds, findByDigests, onFailure } = options
  const cache = createPrincipalCache({ ...SECURITY_LIMITS, ...options })
  const { unknownIds, unknownDigests } = cache
  const changes = createChangeMarks()
  const { lookupDelayMs: delayMs, lookupBatchMax: batchMax, lookupsWaitingMax: waitingMax } = SECURITY_LIMITS
  const bounds = { onFailure, delayMs, batchMax, waitingMax }
  const byId = createLookups<KnownPrincipal>({ query: lookUpIds, ...bounds })
  const byDigest = createLookups<KnownPrincipal>({ query: lookUpDigests, ...bounds })

  async function lookUpIds (ids: readonly string[]): Promise<ReadonlyMap<string, KnownPrincipal>> {
    return await changes.during(async (since) => {
      const found = keep(await findByIds(ids), since, (entry) => [entry.principal.id])
      for (const id of ids) if (!found.has(id) && !changes.concern(id, since)) unknownIds.add(id)
      return found
    })
  }

  async function lookUpDigests (digests: readonly string[]): Promise<ReadonlyMap<string, KnownPrincipal>> {
    return await changes.during(async (since) => {
      const found = keep(await findByDigests(digests), since, (entry) => entry.secrets.map(({ digest }) => digest))
      // The ids of a change do not tell which digests now have a principal.
      if (changes.count === since) for (const digest of digests) if (!found.has(digest)) unknownDigests.add(digest)
      return found
    })
  }

  /** Caches the rows that no change has outdated. @returns all of them, by their keys */
  function keep (
    rows: readonly StoredPrincipal[], since: number, keysOf: (entry: KnownPrincipal) => readonly string[]
  ): Map<string, KnownPrincipal> {
    const found = new Map<string, KnownPrincipal>()
    for (const row of rows) {
      const entry = toKnown(row)
      for (const key of keysOf(entry)) found.set(key, entry)
      if (!changes.concern(entry.principal.id, since)) cache.put(entry)
    }
    return found
  }

  /** Asks until the answer is no older than the last change of the principal that it holds. */
  async function ask (lookups: typeof byId, key: string): Promise<Answer> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const since = changes.count
      const lookup = await lookups.find(key)
      if (lookup.status === 'unavailable') return 'unavailable'
      const { value } = lookup
      if (changes.count === since) return value
      if (value !== undefined && cache.get(value.principal.id) === value) return value
      if (value === undefined && lookups === byId && unknownIds.has(key)) return value
    }
    return 'unavailable'
  }

  return {
    /** By id: at once when it is cached or known not to exist. @param id - without U+0000 */
    find (id: string): Answer | Promise<Answer> {
      return cache.get(id) ?? (unknownIds.has(id) ? undefined : ask(byId, id))
    },

    /** By the digest of a secret, likewise; the secret may have expired. */
    findByDigest (digest: string): Answer | Promise<Answer> {
      return cache.getByDigest(digest) ?? (unknownDigests.has(digest) ? undefined : ask(byDigest, digest))
    },

    /** Whether {@link findByDigest} answers without a query. */
    isKnownDigest: (digest: string): boolean => cache.getByDigest(digest) !== undefined || unknownDigests.has(digest),

    /** The former principal of a deleted secret's digest, as far as this process knows. */
    formerOwnerOf: (digest: string): string | undefined => cache.formerOwnerOf(digest),

    /** Whether {@link find} of an entry's id would still return this entry, after a slow check of it. */
    isCurrent: (entry: KnownPrincipal): boolean => cache.get(entry.principal.id) === entry,

    /** The cached entry of an id, without a query; `null`: known not to exist; `undefined`: not cached. */
    peek (id: string): KnownPrincipal | null | undefined {
      return cache.get(id) ?? (unknownIds.has(id) ? null : undefined)
    },

    /** These principals changed, so their cached entries are dropped. */
    drop (ids: readonly string[]): void {
      changes.note(new Set(ids))
      unknownDigests.clear()
      for (const id of ids) {
        unknownIds.delete(id)
        cache.remove(id)
      }
    },

    /**
     * Any principal may have changed: cached entries stay until they are refreshed, the unknown ids and secrets are
     * dropped.
     */
    doubt (): void {
      changes.note('all')
      unknownDigests.clear()
      unknownIds.clear()
    },

    /**
     * Looks up anew; until the answer comes, the cached entries count.
     * @param ids - at most `lookupBatchMax`
     * @throws the error of pg
     */
    async refresh (ids: readonly string[]): Promise<void> {
      const found = await lookUpIds(ids)
      for (const id of ids) if (!found.has(id)) cache.remove(id)
    },

    /** Ids of all cached principals. */
    ids: (): string[] => cache.ids(),

    get size (): number {
      return cache.size
    }
  }
}

export type Directory = ReturnType<typeof createDirectory>

/** Changes that arrive while queries are under way, so that an outdated answer is not cached. */
function createChangeMarks () {
  let count = 0
  let querying = 0
  let marks: Array<{ readonly count: number, readonly ids: ReadonlySet<string> | 'all' }> = []

  return {
    /** Changes so far. */
    get count (): number {
      return count
    },

    note (ids: ReadonlySet<string> | 'all'): void {
      count++
      if (querying > 0) marks.push({ count, ids })
    },

    /** Whether a change of this id came after `since`, an earlier count; within {@link during}. */
    concern (id: string, since: number): boolean {
      return count !== since && marks.some((mark) => mark.count > since && (mark.ids === 'all' || mark.ids.has(id)))
    },

    /** Runs a query; marks are kept until no query runs. */
    async during<T> (query: (since: number) => Promise<T>): Promise<T> {
      querying++
      try {
        return await query(count)
      } finally {
        querying--
        if (querying === 0) marks = []
      }
    }
  }
}

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
