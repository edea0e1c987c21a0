import type { Rate } from '../../broker/cluster.ts'
import { refill } from '../../broker/publish/token-bucket.ts'
import { LruMap } from '../security/lru-map.ts'
import { HTTP_LIMITS } from './limits.ts'

interface Bucket {
  tokens: number
  filledAtMs: number
}

/**
 * Tells the other gateways of the tokens that were spent here.
 * @returns tokens that are left at all gateways together, by key; `null`: this gateway counts alone
 */
export type SpendTogether = (rate: Rate, spent: ReadonlyMap<string, number>) => Promise<ReadonlyMap<string, number> | null>

interface RateLimitOptions {
  /** Tokens refilled each second; 0: no limit. */
  readonly perSecond: number
  /** Tokens of a full bucket. */
  readonly burst: number
  /** Buckets at most; beyond, the least recently used one is dropped, so it is full again. */
  readonly keysMax: number
  /** Milliseconds that never run backwards. */
  readonly monotonicMs?: () => number
  /** Other gateways, which know the rate by its name; `null`: there are none. */
  readonly others?: { readonly name: string, readonly spend: SpendTogether } | null
}

/** Longest that other gateways may not know of a token that was spent here. */
const TELL_MS = 100
/** The same for the first tokens of a key: tokens that are spent in one turn are told together. */
const TELL_SOON_MS = 5

/**
 * A token bucket for each key. With other gateways the bucket is in Redis, and the one here is a copy. No request waits
 * for Redis: it passes by the tokens that were left a tenth of a second ago.
 */
export function createRateLimit (
  { perSecond, burst, keysMax, monotonicMs = () => performance.now(), others = null }: RateLimitOptions
) {
  const buckets = new LruMap<string, Bucket>({ sizeMax: keysMax })
  /** Tokens that others do not know of. */
  let spent = new Map<string, number>()
  let timer: NodeJS.Timeout | undefined
  /** When others are told, by `performance.now()`; infinite: no message is due, or one is under way. */
  let tellAtMs = Infinity
  let isTelling = false

  function bucketOf (key: string): Bucket | undefined {
    const bucket = buckets.get(key)
    if (bucket === undefined) return undefined
    const nowMs = monotonicMs()
    bucket.tokens = refill(bucket.tokens, nowMs - bucket.filledAtMs, perSecond / 1000, burst)
    bucket.filledAtMs = nowMs
    return bucket
  }

  function schedule (delayMs: number): void {
    const atMs = performance.now() + delayMs
    if (others === null || isTelling || atMs >= tellAtMs) return
    clearTimeout(timer)
    tellAtMs = atMs
    // eslint-disable-next-line @typescript-eslint/no-floating-promises -- it does not reject
    timer = setTimeout(() => { tell(others) }, delayMs).unref()
  }

  async function tell ({ name, spend }: NonNullable<typeof others>): Promise<void> {
    const told = spent
    spent = new Map()
    tellAtMs = Infinity
    isTelling = true
    // Redis that does not answer is logged elsewhere: until it does, this gateway counts alone.
    const left = await spend({ name, perSecond, burst }, told).catch(() => null)
    isTelling = false
    for (const [key, tokens] of left ?? []) {
      const bucket = bucketOf(key)
      if (bucket !== undefined) bucket.tokens = tokens - (spent.get(key) ?? 0)
    }
    if (spent.size > 0) schedule(TELL_MS)
  }

  return {
    /** Takes a token. @returns false when there is none */
    take (key: string): boolean {
      if (perSecond === 0) return true
      const bucket = bucketOf(key)
      const isFull = bucket === undefined || bucket.tokens === burst
      if (bucket === undefined) buckets.set(key, { tokens: burst - 1, filledAtMs: monotonicMs() })
      else if (bucket.tokens < 1) return false
      else bucket.tokens--
      const before = spent.get(key) ?? 0
      // Redis may not answer for seconds: beyond the bound a key counts here alone.
      if (others === null || (before === 0 && spent.size >= keysMax)) return true
      spent.set(key, before + 1)
      // For a key that was not used here for a while, it is not known how many tokens others have left.
      schedule(isFull ? TELL_SOON_MS : TELL_MS)
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

interface RequestRateOptions extends Pick<RateLimitOptions, 'perSecond' | 'monotonicMs'> {
  readonly name: string
  readonly spendTogether: SpendTogether | null
}

/** Requests of one principal, or of one address while there are no principals. */
export function createRequestRate ({ perSecond, name, spendTogether, ...clock }: RequestRateOptions) {
  const others = spendTogether === null ? null : { name, spend: spendTogether }
  return createRateLimit({ ...clock, perSecond, burst: perSecond * 2, keysMax: HTTP_LIMITS.rateLimitKeysMax, others })
}
