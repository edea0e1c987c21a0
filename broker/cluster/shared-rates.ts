import type { Rate } from '../cluster.ts'
import type { Joining } from './joining.ts'
import { KEYS } from './keys.ts'
import type { RedisLink, Reply } from './redis/redis-link.ts'
import { SPEND } from './scripts.ts'

interface SharedRatesOptions {
  readonly link: Pick<RedisLink, 'pipeline'>
  readonly joining: Pick<Joining, 'isJoined'>
}

/** Buckets in one script: while a script runs, Redis serves no other client. */
const BUCKETS_PER_SCRIPT = 100

/** Token buckets that gateways share. */
export function createSharedRates ({ link, joining }: SharedRatesOptions) {
  return async function spend (
    { name, perSecond, burst }: Rate, spent: ReadonlyMap<string, number>
  ): Promise<ReadonlyMap<string, number> | null> {
    if (!joining.isJoined) return null
    const entries = [...spent]
    const parts = Array.from({ length: Math.ceil(entries.length / BUCKETS_PER_SCRIPT) },
      (_, part) => entries.slice(part * BUCKETS_PER_SCRIPT, (part + 1) * BUCKETS_PER_SCRIPT))
    const replies = await link.pipeline(parts.map((part) =>
      ['EVAL', SPEND, 0, perSecond, burst, ...part.flatMap(([key, tokens]) => [KEYS.rate(name, key), tokens])]))
    // Tokens that Redis refuses to count are counted at this gateway alone.
    return new Map(parts.flatMap((part, index) => toLeft(part, replies[index])))
  }
}

function toLeft (part: ReadonlyArray<readonly [key: string, tokens: number]>, reply: Reply | undefined): Array<[string, number]> {
  return Array.isArray(reply) ? part.map(([key], index) => [key, Number(reply[index])]) : []
}
