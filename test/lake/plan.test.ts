import fc from 'fast-check'
import t from 'tap'
import { createConfig } from '../../src/config/config.ts'
import type { ObjectStore } from '../../src/lake/object-store.ts'
import { parsePlan, type Plan, toDoneKey, toFileKey, toHour, toHourOf, toPlanKey, toPlanText } from '../../src/lake/plan.ts'
import { createPlans } from '../../src/lake/plans.ts'
import { toOtherVitals } from '../../src/lake/readings-table.ts'
import { holds } from '../helpers/property.ts'

const PLACE = { topicId: '6f1c7e0e-0000-4000-8000-000000000000', partition: 3 }
const toPlan = (firstOffset: number): Plan =>
  ({ ...PLACE, topic: 'vital.readings', firstOffset, lastOffset: firstOffset + 9, files: [], devices: [], erasures: [] })

/** A store in memory that lists as S3 does. */
function createMemory (): Pick<ObjectStore, 'putNew' | 'read' | 'list' | 'replace'> {
  const objects = new Map<string, string>()
  return {
    async putNew (key, body) {
      if (objects.has(key)) return false
      objects.set(key, body as string)
      return true
    },
    async read (key) {
      const text = objects.get(key)
      return text === undefined ? null : { text, etag: text }
    },
    async replace (key, body, etag) {
      if (objects.get(key) !== etag) return false
      objects.set(key, body as string)
      return true
    },
    async * list (start) {
      for (const key of [...objects.keys()].sort()) if (key.startsWith(start)) yield { key, bytes: 0, etag: '', modifiedMs: 0 }
    }
  }
}

t.test('the file of a reading is in the hour of its time, UTC', (t) => {
  const key = toFileKey(PLACE, 42, toHour(1_750_240_799_999_999))
  t.equal(key, `day=2025-06-18/hour=09/${PLACE.topicId}-3-42.parquet`)
  t.equal(toFileKey(PLACE, 42, toHour(1_750_240_800_000_000)), `day=2025-06-18/hour=10/${PLACE.topicId}-3-42.parquet`)
  t.equal(toHourOf('_plans/x'), null)
  holds(t, fc.property(fc.integer({ min: 0, max: 4_102_444_800_000_000 }), (timeUs) =>
    toHourOf(toFileKey(PLACE, 0, toHour(timeUs))) === toHour(timeUs)))
  t.end()
})

t.test('the last plan comes first in a list', (t) => {
  const offset = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })
  holds(t, fc.property(offset, offset, (a, b) => a === b || (toPlanKey(PLACE, a) < toPlanKey(PLACE, b)) === (a > b)))
  t.ok(toDoneKey(toPlanKey(PLACE, 100)) < toPlanKey(PLACE, 99))
  t.end()
})

t.test('the last plan of a partition, and whether it is carried out', async (t) => {
  const plans = createPlans(createMemory())
  t.equal(await plans.latest(PLACE), null)
  t.ok(await plans.put(toPlan(0)))
  t.same(await plans.latest(PLACE), { plan: toPlan(0), isDone: false })
  t.notOk(await plans.put({ ...toPlan(0), lastOffset: 99 }), 'the plan exists')
  await plans.finish(toPlan(0))
  await plans.finish(toPlan(0))
  t.same(await plans.latest(PLACE), { plan: toPlan(0), isDone: true })
  await plans.put(toPlan(10))
  t.same(await plans.latest(PLACE), { plan: toPlan(10), isDone: false })
  t.equal(await plans.latest({ ...PLACE, partition: 30 }), null)
  const all = []
  for await (const { firstOffset } of plans.all(PLACE)) all.push(firstOffset)
  t.same(all, [10, 0])
})

t.test('an erased device is removed from plans, also while another one is being removed', async (t) => {
  const store = createMemory()
  const plans = createPlans(store)
  const plan = { ...toPlan(0), devices: ['a', 'b', 'c'], erasures: [{ erasure: 'e', device: 'd', offset: 3 }] }
  await plans.put(plan)
  await Promise.all([plans.forget(plan, 'a'), plans.forget(plan, 'c'), plans.forget(plan, 'x'), plans.forgetErasures(plan)])
  t.same(await plans.latest(PLACE), { plan: { ...plan, devices: ['b'], erasures: [] }, isDone: false })
  await plans.forget(toPlan(10), 'a')
  t.notOk(await store.read(toPlanKey(PLACE, 10)), 'no plan is created')
})

t.test('a plan that this version cannot carry out is refused', (t) => {
  t.same(parsePlan(toPlanText(toPlan(5)), 'k'), toPlan(5))
  for (const change of [{ schema: 2 }, { lastOffset: 3 }, { files: 'x' }, { firstOffset: null }]) {
    t.throws(() => parsePlan(JSON.stringify({ schema: 1, ...toPlan(5), ...change }), 'k'), /^k is not a plan/, JSON.stringify(change))
  }
  t.throws(() => parsePlan('{', 'k'))
  t.end()
})

t.test('fields without a column are kept as JSON', (t) => {
  t.equal(toOtherVitals({ heartRateValue: 61, spo2Value: 97 }), '')
  t.equal(toOtherVitals({ heartRateValue: 61, ward: { b: 1, a: [2.5] }, note: 'x' }), '{"note":"x","ward":{"a":[2.5],"b":1}}')
  t.equal(toOtherVitals({ heartRateValue: 'none' }), '{"heartRateValue":"none"}')
  t.end()
})

t.test('the place of a lake', (t) => {
  const locate = (url: string) => createConfig({ VITAL_LAKE_URL: url }).lake.location
  t.equal(createConfig({}).lake.location, null)
  t.same(locate('s3://vital-lake'), { bucket: 'vital-lake', prefix: '' })
  t.same(locate('s3://vital-lake/a/b/'), { bucket: 'vital-lake', prefix: 'a/b/' })
  for (const url of ['https://x/y', 's3://', 's3://A/b', 's3://key:secret@bucket/x', 's3://bucket/../x', 's3://bucket/a//b']) {
    t.throws(() => locate(url), /^VITAL_LAKE_URL must name a bucket/, url)
  }
  t.end()
})
