import { refill } from '../../broker/publish/token-bucket.ts'
import { LruMap } from '../security/lru-map.ts'

interface Bucket {
  tokens: number
  filledAtMs: number
}

interface RateLimitOptions {
  /** Tokens refilled each second; 0: no limit. */
  readonly perSecond: number
  /** Tokens of a full bucket. */
  readonly burst: number
  /** Buckets at most; beyond, the least recently used one is dropped, so it is full again. */
  readonly keysMax: number
  /** Milliseconds that never run backwards. */
  readonly monotonicMs?: () => number
}

/** A token bucket for each key. */
export function createRateLimit (
  { perSecond, burst, keysMax, monotonicMs = () => performance.now() }: RateLimitOptions
) {
  const buckets = new LruMap<string, Bucket>({ sizeMax: keysMax })

  function bucketOf (key: string): Bucket | undefined {
    const bucket = buckets.get(key)
    if (bucket === undefined) return undefined
    const nowMs = monotonicMs()
    bucket.tokens = refill(bucket.tokens, nowMs - bucket.filledAtMs, perSecond / 1000, burst)
    bucket.filledAtMs = nowMs
    return bucket
  }

  return {
    /** Takes a token. @returns false when there is none */
    take (key: string): boolean {
      if (perSecond === 0) return true
      const bucket = bucketOf(key)
      if (bucket === undefined) {
        buckets.set(key, { tokens: burst - 1, filledAtMs: monotonicMs() })
        return true
      }
      if (bucket.tokens < 1) return false
      bucket.tokens--
      return true
    },

    /** Whether {@link take} would find none. */
    isExhausted (key: string): boolean {
      return perSecond > 0 && buckets.size > 0 && (bucketOf(key)?.tokens ?? burst) < 1
    },

    get size (): number {
      return buckets.size
    }
  }
}
