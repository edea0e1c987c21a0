import type { Assigned } from '../sink/place.ts'
import type { ObjectStore, StoredObject } from './object-store.ts'
import { isDoneKey, parsePlan, type Plan, toDoneKey, toPlanKey, toPlanPrefix, toPlanText } from './plan.ts'

/** The last plan of a partition. */
export interface LatestPlan {
  readonly plan: Plan
  /** Whether it is carried out: all of its files are in the store. */
  readonly isDone: boolean
}

/** The plans of a lake. Errors are those of the store. */
export function createPlans (store: Pick<ObjectStore, 'putNew' | 'read' | 'list' | 'replace'>) {
  async function read (key: string): Promise<Plan> {
    const found = await store.read(key)
    if (found === null) throw new Error(`${key} was listed, and is gone`)
    return parsePlan(found.text, key)
  }

  /** Rewrites a plan; offsets and files stay. @param change - computes the change from the stored plan; `null`: none */
  async function rewrite (of: Plan, change: (plan: Plan) => Pick<Plan, 'devices' | 'erasures'> | null): Promise<void> {
    const key = toPlanKey(of, of.firstOffset)
    for (;;) {
      const found = await store.read(key)
      if (found === null) return
      const plan = parsePlan(found.text, key)
      const changed = change(plan)
      if (changed === null || await store.replace(key, toPlanText({ ...plan, ...changed }), found.etag)) return
    }
  }

  return {
    /** @returns `null`: the partition has none */
    async latest (place: Assigned): Promise<LatestPlan | null> {
      let last: string | null = null
      for await (const { key } of store.list(toPlanPrefix(place), 2)) {
        if (last !== null) return { plan: await read(last), isDone: key === toDoneKey(last) }
        last = key
      }
      return last === null ? null : { plan: await read(last), isDone: false }
    },
    /** @returns `false`: another plan exists for this offset, which must be carried out instead */
    put: (plan: Plan): Promise<boolean> => store.putNew(toPlanKey(plan, plan.firstOffset), toPlanText(plan)),
    /** Marks a plan as carried out. */
    async finish (plan: Plan): Promise<void> {
      await store.putNew(toDoneKey(toPlanKey(plan, plan.firstOffset)), '')
    },
    /** @returns when a plan was carried out, in Unix milliseconds; `null`: it is not, or does not exist */
    async doneMs (place: Assigned, firstOffset: number): Promise<number | null> {
      const listed = store.list(toDoneKey(toPlanKey(place, firstOffset)), 1)
      const { value: done } = await listed.next() as IteratorResult<StoredObject, undefined>
      return done?.modifiedMs ?? null
    },
    /** Removes a device from a plan, once none of its files holds the device any more. */
    forget: (plan: Plan, device: string): Promise<void> => rewrite(plan, ({ devices, erasures }) =>
      devices.includes(device) ? { devices: devices.filter((name) => name !== device), erasures } : null),
    /** Removes the erasures of a plan, once they are carried out. */
    forgetErasures: (plan: Plan): Promise<void> => rewrite(plan, ({ devices, erasures }) =>
      erasures.length > 0 ? { devices, erasures: [] } : null),
    /** All plans of a partition, the last one first. */
    async * all (place: Assigned): AsyncGenerator<Plan> {
      for await (const { key } of store.list(toPlanPrefix(place))) if (!isDoneKey(key)) yield await read(key)
    }
  }
}

export type Plans = ReturnType<typeof createPlans>
