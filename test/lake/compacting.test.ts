/** Joining files of a lake, killed at each step, and during another compaction. */
import t, { type Test } from 'tap'
import { toSets } from '../../src/lake/listed-files.ts'
import { LAKE_LIMITS } from '../../src/lake/limits.ts'
import { createPlanFiles } from '../../src/lake/plan-files.ts'
import { exactly } from '../helpers/exactly.ts'
import { NO_STORE } from '../helpers/seaweedfs.ts'
import { HOUR, killAt, Killed, startFiles, TOPIC_ID, WHOLE } from './compacting-rig.ts'
import { createLakeRig } from './rig.ts'

t.test('files to join are chosen by their sizes', (t) => {
  const sizes = (files: readonly number[], filesMax = 10) =>
    toSets(files.map((bytes) => ({ bytes })), { bytesMax: 100, filesMax }).map((set) => set.map(({ bytes }) => bytes))
  t.same(sizes([]), [])
  t.same(sizes([1]), [])
  t.same(sizes([40, 60]), [[40, 60]])
  t.same(sizes([40, 61]), [])
  t.same(sizes([1, 2, 150, 3, 99, 1]), [[1, 2], [99, 1]])
  t.same(sizes([1, 1, 1, 1, 1], 2), [[1, 1], [1, 1]])
  t.end()
})

/** Every n-th step is tried. With 1, all steps are, which takes twice as long. */
const { VITAL_TEST_LAKE_STRIDE: STRIDE = '2' } = process.env

if (NO_STORE !== false) t.pass(`left out: ${NO_STORE}`, { skip: NO_STORE })
else {
  const { createPlace } = await createLakeRig(t)

  const start = async (t: Test) => await startFiles(t, await createPlace(t))

  t.test('files of a partition and hour become one; the others are emptied, and removed a day later', async (t) => {
    const { place: { objects, read }, files } = await start(t)
    t.same(await files.look(), { filled: 8, files: 8, ...WHOLE })
    const told = await files.compact(undefined, { isDryRun: true })
    t.match(told, { joined: exactly({ files: 5, readings: null }, { files: 2 }), emptied: 0, removed: 0 })
    t.same(await files.look(), { filled: 8, files: 8, ...WHOLE }, 'nothing has changed')

    const { limits } = { limits: LAKE_LIMITS }
    t.match(await files.compact(undefined, { limits }), {
      joined: exactly({ hour: HOUR, partition: 0, files: 5, readings: 70 }, { partition: 1, files: 2, readings: 20 }),
      emptied: 5,
      removed: 0,
      left: 5
    })
    t.same(await files.look(), { filled: 3, files: 8, ...WHOLE })
    t.same(await read('select device, min("time")::varchar, max("heartRateValue")::int from lake where device = \'b\' group by 1'),
      [['b', '2025-06-18 09:00:20+00', 69]])
    const late = { topicId: TOPIC_ID, partition: 0 }
    t.notOk(await objects.putNew(`day=2025-06-18/hour=09/${late.topicId}-0-10.parquet`, 'what a lake that was frozen puts'))
    t.match(await files.compact(undefined, { limits }), { joined: exactly(), emptied: 0, removed: 0, left: 5 }, 'the files are too young')
    t.match(await files.compact(), { joined: exactly(), emptied: 0, removed: 5, left: 0 })
    t.same(await files.look(), { filled: 3, files: 3, ...WHOLE })
    t.match(await files.compact(), { joined: exactly(), emptied: 0, removed: 0, left: 0 })
  })

  t.test('the file of a late reading is joined later', async (t) => {
    const { files } = await start(t)
    await files.compact()
    await files.fill({ devices: ['b'] })
    t.match(await files.compact(), { joined: exactly({ files: 2, readings: 80 }), emptied: 1, removed: 1 })
    t.same(await files.look(), { filled: 3, files: 3, readings: 120, ids: 120, places: 120 })
  })

  t.test('an emptied file stays until its plan is carried out, and a lake that was frozen writes nothing', async (t) => {
    const { place: { objects, plans }, files } = await start(t)
    const { plan: open } = (await plans.latest({ topicId: TOPIC_ID, partition: 1 }))!
    await objects.remove(`_plans/${TOPIC_ID}-1/${String(Number.MAX_SAFE_INTEGER - open.firstOffset)}-${open.firstOffset}.done`)
    const frozen = createPlanFiles({ store: objects, plans, limits: { planOpenMs: 60_000 } })
    t.ok(await frozen.put(open, 'seen', 'x'), 'the frozen lake has seen that the plan is open')
    t.match(await files.compact(), { emptied: 5, removed: 4, left: 1 })
    await plans.finish(open)
    t.match(await files.compact(), { removed: 1, left: 0 })
    const woken = createPlanFiles({ store: { ...objects, nowMs: () => objects.nowMs() + 31_000 }, plans, limits: { planOpenMs: 60_000 } })
    t.notOk(await woken.put(open, open.files[0]!, 'late'))
    await t.rejects(objects.putNew(open.files[0]!, 'late', objects.nowMs() - 1), { name: 'TimeoutError' })
    t.ok(await objects.refusesOld(), 'and a request that was signed before is refused')
    t.same(await files.look(), { filled: 3, files: 3, ...WHOLE })
  })

  t.test('killed at each step, answered or not: nothing is lost, and the next compaction completes it', { timeout: 300_000 }, async (t) => {
    for (let number = 0; ; number++) {
      const { files } = await start(t)
      const { step, isKilled } = killAt(number, (name) => name === 'replace' || name === 'remove')
      await files.compact(step).catch((error: unknown) => { if (!(error instanceof Killed)) throw error })
      const { readings, ...left } = await files.look()
      t.match(left, { ids: WHOLE.ids }, `step ${number}: ${readings} rows`)
      await files.compact()
      await files.compact()
      t.same(await files.look(), { filled: 3, files: 3, ...WHOLE }, `step ${number}: then`)
      if (!isKilled()) break
    }
  })

  t.test('another complete compaction at every second step', { timeout: 300_000 }, async (t) => {
    for (let number = 0; ; number += Number(STRIDE)) {
      const { files } = await start(t)
      let [steps, isMet] = [0, false]
      const others = number % 4 < 2 ? {} : { limits: { ...LAKE_LIMITS, emptyAgeMs: 0, joinedFilesMax: 3 } }
      await files.compact(async ({ isAnswered }) => {
        if (isAnswered || steps++ !== number) return
        isMet = true
        await files.compact(undefined, others)
      })
      await files.compact()
      await files.compact()
      t.same(await files.look(), { filled: 3, files: 3, ...WHOLE }, `step ${number}`)
      if (!isMet) break
    }
  })
}
