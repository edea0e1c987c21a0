/** A broker whose log is truncated as by a power failure: a lake notices and stops. */
import t, { type Test } from 'tap'
import { READINGS_TOPIC } from '../../src/kafka/records.ts'
import type { Plan } from '../../src/lake/plan.ts'
import { toDoneKey, toPlanKey } from '../../src/lake/plan.ts'
import { isOnKafkaNode } from '../helpers/kafka.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { amid, failPower } from '../helpers/power-failure.ts'
import { NO_STORE } from '../helpers/seaweedfs.ts'
import { until } from '../helpers/until.ts'
import { createSinkRig, toRows } from '../sink/rig.ts'
import { createLakeRig, isWritten, startLake, toVariables } from './rig.ts'

const COUNTS = 'select count(*)::int, count(distinct id)::int from lake'
const LOST = /lost acknowledged records of partition 0 of vital\.readings, from offset 800 on\. .*src\/lake\/README\.md tells how/

if (NO_STORE !== false) t.pass(`left out: ${NO_STORE}`, { skip: NO_STORE })
else if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)
  const { createPlace } = await createLakeRig(t)
  const write = async (hundreds: number, from: number) => {
    for (let at = 0; at < hundreds; at++) {
      const rows = toRows(100, { from: from + at * 100 })
      await until(() => rig.writeReadings(rows).then(() => true, () => false), 'readings to be written')
    }
  }
  /** A lake that has written a thousand readings of one partition. */
  async function startWritten (t: Test) {
    await rig.makeAnew(1)
    const place = await createPlace(t)
    const { connectionString, query } = await createTestDatabase(t)
    const variables = toVariables(rig, place, connectionString)
    const lake = await startLake(t, variables, { stoppedMs: 1000 })
    await write(10, 0)
    await until(async () => await isWritten(rig, query))
    const [topicId] = (await query<{ id: string }>('select topic_id as id from sink_offsets')).map(({ id }) => id)
    const latest = async () => (await place.plans.latest({ topicId: topicId!, partition: 0 }))!.plan
    return { lake, place, query, connectionString, variables, latest }
  }

  t.test('a lake that was away while the log was truncated and grew again stops with a warning; a new prefix has the rest', async (t) => {
    const { lake, place, query, variables, connectionString, latest } = await startWritten(t)
    t.match(await latest(), { lastOffset: 999, leaderEpoch: 0 })
    await lake.lake.stop()
    await failPower(rig.kafka, { topic: READINGS_TOPIC }, amid(850))
    await write(5, 10_000)
    const next = await startLake(t, variables, { stoppedMs: 1000 })
    await until(() => next.said(LOST))
    await until(async () => (await next.warnings()).some((warning) => LOST.test(warning)))
    t.notOk(await next.isReady())
    t.same(await place.read(COUNTS), [[1000, 1000]], 'no later reading is written')
    t.same(await query('select next_offset::int as next, leader_epoch as epoch from sink_offsets'), [{ next: 1000, epoch: 0 }])
    await next.lake.stop()
    await rig.admin.deleteRecords({ topics: [{ name: READINGS_TOPIC, partitions: [{ partition: 0, offset: 250n }] }] })
    const anew = await createPlace(t)
    await startLake(t, toVariables(rig, anew, connectionString))
    await until(async () => await isWritten(rig, query))
    t.same(await anew.read(COUNTS), [[1050, 1050]], 'all records of the log')
  })

  t.test('an open plan whose records were lost is not carried out with other records', async (t) => {
    const { lake, place, variables, latest } = await startWritten(t)
    await lake.lake.stop()
    const plan: Plan = { ...await latest(), firstOffset: 1000, lastOffset: 1099, files: [] }
    await write(1, 5000)
    t.ok(await place.plans.put(plan), 'another lake had begun')
    await failPower(rig.kafka, { topic: READINGS_TOPIC }, amid(800))
    await write(5, 10_000)
    const next = await startLake(t, variables, { stoppedMs: 1000 })
    await until(() => next.said(LOST))
    t.notOk(await place.objects.read(toDoneKey(toPlanKey(plan, 1000))))
    t.same(await place.read(COUNTS), [[1000, 1000]])
  })
}
