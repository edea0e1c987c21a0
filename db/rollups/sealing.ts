import type { Kysely } from 'kysely'
import type { Tables } from '../tables.ts'
import { type LateBucket, type LateWork, recomputeLate } from './late.ts'
import { floorTo, HOUR_S, inTurn, writeState } from './turn.ts'

const BUCKETS_MAX = 200

/**
 * Makes roll-ups final before their readings are removed: recomputes the marked buckets, then moves `sealed_before`. A
 * reading of an earlier time that arrives afterwards changes no average.
 * @param cutoffS - Unix seconds; readings before it are to be removed
 * @returns the time before which readings may be removed, a whole hour; `null` while roll-ups of that time are still to
 *   be computed
 */
export async function seal (
  kysely: Kysely<Tables>, cutoffS: number, isStopping: () => boolean
): Promise<number | null> {
  const beforeS = floorTo(cutoffS, HOUR_S)
  let after: LateBucket | null = null
  do {
    if (isStopping()) return null
    const work: LateWork | null = await recomputeLate(kysely, {
      after, bucketsMax: BUCKETS_MAX, beforeS, isPatient: true, onDeleted: async () => {}, onComputed: async () => {}
    })
    after = work?.last ?? null
  } while (after !== null)
  return await inTurn(kysely, async ({ transaction, state: { builtFrom, closedBefore, sealedBefore } }) => {
    if (builtFrom > sealedBefore || closedBefore < beforeS) return null
    if (beforeS > sealedBefore) await writeState(transaction, { sealedBefore: beforeS })
    return Math.max(beforeS, sealedBefore)
  }, { isPatient: true })
}
