import type { Rate } from '../cluster.ts'
import type { Joining } from './joining.ts'
import { KEYS } from './keys.ts'
import type { RedisLink, Reply } from './redis/redis-link.ts'
import { SPEND } from './scripts.ts'

interface SharedRatesOptions {
  readonly link: Pick<RedisLink, 'pipeline'>
  readonly joining: Pick<Joining, 'isJoined'>
}

/** Token buckets that gateways share. */
export function createSharedRates ({ link, joining }: SharedRatesOptions) {
  return async function spend (
    { name, perSecond, burst }: Rate, spent: ReadonlyMap<string, number>
  ): Promise<ReadonlyMap<string, number> | null> {
    if (!joining.isJoined) return null
    const keys = [...spent.keys()]
    const replies = await link.pipeline(keys.map((key) =>
      ['EVAL', SPEND, 0, KEYS.rate(name, key), perSecond, burst, spent.get(key)!]))
    // One that Redis refuses counts here alone.
    return new Map(keys.flatMap((key, index) => toLeft(key, replies[index])))
  }
}

function toLeft (key: string, reply: Reply | undefined): Array<[string, number]> {
  return reply === undefined || reply instanceof Error ? [] : [[key, Number(reply)]]
}
