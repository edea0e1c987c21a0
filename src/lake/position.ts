import type { Claim } from '../../db/queries/claim-offset.ts'
import type { LogBounds } from '../sink/log-bounds.ts'
import type { Place } from '../sink/place.ts'
import type { Plan } from './plan.ts'
import type { LatestPlan } from './plans.ts'

/** Where a lake continues in a partition. */
export interface Position {
  /** Everything before this position is in the store. */
  readonly stored: Claim
  /** Position to read from. */
  readonly next: Claim
  /** A plan to carry out first; `null`: none. */
  readonly begun: Plan | null
}

/**
 * The position is behind the last plan, or at its beginning if that plan is not carried out. If brokers lost records of
 * a plan before it was carried out, no lake can carry it out. Then the position is its end, which the log does not
 * have, so that the partition is stopped with a message.
 * @param latest - `null`: the partition has no plan, and is read from its first record
 */
export async function findPlanPosition (
  latest: LatestPlan | null, place: Place, claim: Claim, { findFirstOffset, findEpochEnd }: LogBounds
): Promise<Position> {
  if (latest === null) {
    const first = { ...claim, nextOffset: await findFirstOffset(place), leaderEpoch: null }
    return { stored: first, next: first, begun: null }
  }
  const { firstOffset, lastOffset, leaderEpoch = null } = latest.plan
  const behind = { ...claim, nextOffset: lastOffset + 1, leaderEpoch }
  if (latest.isDone) return { stored: behind, next: behind, begun: null }
  const stored = { ...claim, nextOffset: firstOffset, leaderEpoch: null }
  if (leaderEpoch === null) return { stored, next: stored, begun: latest.plan }
  const end = await findEpochEnd(place, leaderEpoch)
  const isWhole = end.leaderEpoch === leaderEpoch && end.endOffset > lastOffset
  return isWhole ? { stored, next: stored, begun: latest.plan } : { stored, next: behind, begun: null }
}
