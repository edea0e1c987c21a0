import type { Claim } from '../../db/queries/claim-offset.ts'
import type { LogBounds } from '../sink/log-bounds.ts'
import type { Place } from '../sink/place.ts'
import type { Plan } from './plan.ts'
import type { LatestPlan } from './plans.ts'

/** Where a lake goes on in a partition. */
export interface Position {
  /** Up to there all is in the store. */
  readonly stored: Claim
  readonly next: Claim
  /** To be carried out first. */
  readonly begun: Plan | null
}

/**
 * Behind the last plan, or at its beginning where that is not carried out. Where brokers have lost records of a plan before it
 * was carried out, nobody can carry it out: its end is the position then, which the log does not have, and that is told.
 * @param latest - `null`: the partition has no plan, and is read from its first record on
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
