/**
 * Puts the files of a plan. A lake that was frozen meanwhile may find its plan carried out by another one, and a file of it
 * emptied by a compaction, and removed. So a file is put only shortly after the plan was seen not to be carried out.
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
    /** @returns `false`: the plan is carried out */
    async put (plan: Plan, key: string, body: Body): Promise<boolean> {
      const planKey = toPlanKey(plan, plan.firstOffset)
      const nowMs = store.nowMs()
      if (seen?.plan !== planKey || seen.untilMs - nowMs < planOpenMs / 2) {
        if (await plans.doneMs(plan, plan.firstOffset) !== null) return false
        seen = { plan: planKey, untilMs: nowMs + planOpenMs }
      }
      // Where it is there already, it holds the same readings, fewer where a device was erased, or none where they were moved.
      await store.putNew(key, body, seen.untilMs)
      return true
    }
  }
}
