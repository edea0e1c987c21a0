/**
 * Puts the files of a plan. If a lake was frozen, another lake may have carried out the plan meanwhile, and a
 * compaction may have emptied and removed a file. So a file is put only shortly after a check that the plan is not
 * carried out.
 */
import type { LakeLimits } from './limits.ts'
import type { Body, ObjectStore } from './object-store.ts'
import { type Plan, toPlanKey } from './plan.ts'
import type { Plans } from './plans.ts'

interface PlanFilesOptions {
  readonly store: Pick<ObjectStore, 'nowMs' | 'putNew'>
  readonly plans: Pick<Plans, 'doneMs'>
  readonly limits: Pick<LakeLimits, 'planOpenMs'>
}

export function createPlanFiles ({ store, plans, limits: { planOpenMs } }: PlanFilesOptions) {
  let seen: { readonly plan: string, readonly untilMs: number } | null = null

  return {
    /** @returns `false`: the plan is already carried out */
    async put (plan: Plan, key: string, body: Body): Promise<boolean> {
      const planKey = toPlanKey(plan, plan.firstOffset)
      const nowMs = store.nowMs()
      if (seen?.plan !== planKey || seen.untilMs - nowMs < planOpenMs / 2) {
        if (await plans.doneMs(plan, plan.firstOffset) !== null) return false
        seen = { plan: planKey, untilMs: nowMs + planOpenMs }
      }
      // A file that exists already holds the same readings, fewer after an erasure, or none after they were moved.
      await store.putNew(key, body, seen.untilMs)
      return true
    }
  }
}
