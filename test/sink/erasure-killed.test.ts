/** Erasing a device of which records wait in Kafka, while gateways are killed, or Kafka is. */
import t from 'tap'
import type { ErasureStep } from '../../src/operations/erasure-requests.ts'
import { erase, spawnDoomed } from '../helpers/erasures.ts'
import { startGateway } from '../helpers/gateway.ts'
import { isOnKafkaNode } from '../helpers/kafka.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'
import { publishTimes, timesOf, toJournal } from './erasing.ts'
import { createSinkRig, startSink, toRow } from './rig.ts'

if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)

  for (const step of ['registered', 'logged'] satisfies ErasureStep[]) {
    t.test(`the gateway that was asked dies when ${step}: what stands behind the markers waits, and another gateway goes on`, async (t) => {
      await rig.makeAnew(6)
      const { connectionString, query } = await createTestDatabase(t)
      const sink = await startSink(t, rig, connectionString, { limits: { heldToldMs: 0 } })
      const asked = await spawnDoomed(t, toJournal(rig, connectionString), step)
      await publishTimes(t, asked.mqttPort, 'a', [1, 2, 3])
      await publishTimes(t, asked.mqttPort, 'b', [1])
      await until(async () => (await query('select 1 from readings')).length === 4)
      await t.rejects(erase(asked.httpUrl, 'a'), 'its answer does not come')
      t.same(await asked.exited, [null, 'SIGKILL'])
      if (step === 'logged') {
        await rig.writeReadings([toRow('a', 4), toRow('b', 2)])
        await until(async () => (await timesOf(query, 'b')).length === 2, 'other partitions go on')
        await until(async () => (await sink.health()).warnings.some((warning) => /waits until a gateway has cleared/.test(warning)))
        t.notOk((await timesOf(query, 'a')).includes(4), 'it would be deleted with the others')
      }
      const other = await startGateway(t, toJournal(rig, connectionString))
      await until(async () => (await query('select from erasures where deleted_at is null')).length === 0, 'it is done', 30_000)
      await publishTimes(t, other.mqttPort, 'a', [5])
      await until(async () => (await timesOf(query, 'a')).includes(5))
      t.same(await timesOf(query, 'a'), step === 'logged' ? [4, 5] : [5])
      t.same((await sink.health()).warnings, [])
    })
  }

  t.test('while Kafka does not answer an erasure stays requested, and is carried out by itself', async (t) => {
    await rig.makeAnew(6)
    const { connectionString, query } = await createTestDatabase(t)
    await rig.writeReadings([toRow('a', 1)])
    let isFrozen = false
    const gateway = await startGateway(t, toJournal(rig, connectionString), {
      onErasureStep (step) {
        if (step !== 'awaited' || isFrozen) return
        isFrozen = true
        rig.kafka.freeze()
      }
    })
    const answer = await erase(gateway.httpUrl, 'a')
    t.match(answer, { status: 503 })
    t.match(JSON.stringify(answer), /Kafka does not take the markers of the erasure: .* It stays requested/)
    rig.kafka.thaw()
    await until(async () => (await query('select from erasures where deleted_at is null')).length === 0, 'it is done', 30_000)
  })
}
