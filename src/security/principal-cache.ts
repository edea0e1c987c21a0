/** The directory's memory: principals with the digests of their secrets, and ids and secrets without a principal. */
import type { KnownPrincipal } from './known-principal.ts'
import { LruMap } from './lru-map.ts'

interface PrincipalCacheOptions {
  readonly principalsMax: number
  /** Entries without a principal: ids, and as many secrets. */
  readonly unknownMax: number
  readonly unknownAgeMaxMs: number
}

/** Bounded by its options; ages are taken from the monotonic clock. */
export function createPrincipalCache ({ principalsMax, unknownMax, unknownAgeMaxMs }: PrincipalCacheOptions) {
  const idsByDigest = new Map<string, string>()
  const known = new LruMap<string, KnownPrincipal>({ sizeMax: principalsMax, onEvict: forgetSecrets })
  /** Secrets that had a principal until a change. A revocation deletes them, and the log has to name the principal. */
  const former = new LruMap<string, string>({ sizeMax: unknownMax })
  const unknownIds = createUnknownKeys(unknownMax, unknownAgeMaxMs)
  const unknownDigests = createUnknownKeys(unknownMax, unknownAgeMaxMs)

  function remove (id: string): void {
    const entry = known.delete(id)
    if (entry === undefined) return
    forgetSecrets(entry)
    for (const { digest } of entry.secrets) former.set(digest, id)
  }

  function forgetSecrets ({ secrets }: KnownPrincipal): void {
    for (const { digest } of secrets) idsByDigest.delete(digest)
  }

  return {
    unknownIds,
    unknownDigests,

    get: (id: string): KnownPrincipal | undefined => known.get(id),

    getByDigest (digest: string): KnownPrincipal | undefined {
      const id = idsByDigest.get(digest)
      return id === undefined ? undefined : known.get(id)
    },

    /** The former principal of a deleted secret's digest. */
    formerOwnerOf: (digest: string): string | undefined => former.get(digest),

    put (entry: KnownPrincipal): void {
      const { id } = entry.principal
      remove(id)
      unknownIds.delete(id)
      known.set(id, entry)
      for (const { digest } of entry.secrets) {
        idsByDigest.set(digest, id)
        former.delete(digest)
      }
    },

    remove,

    ids: (): string[] => [...known.keys()],

    get size (): number {
      return known.size
    }
  }
}

/** Keys that had no principal when they were looked up, each until its age is `ageMaxMs`. */
function createUnknownKeys (sizeMax: number, ageMaxMs: number) {
  const endsMs = new LruMap<string, number>({ sizeMax })
  return {
    has (key: string): boolean {
      const endMs = endsMs.get(key)
      return endMs !== undefined && performance.now() < endMs
    },

    add (key: string): void {
      endsMs.set(key, performance.now() + ageMaxMs)
    },

    delete (key: string): void {
      endsMs.delete(key)
    },

    clear (): void {
      endsMs.clear()
    }
  }
}
