/** Erasing a device with records in Kafka, while gateways or Kafka are killed. */
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { ErasureStep } from '../../src/operations/erasure-requests.ts'
import { erase, spawnDoomed, states } from '../helpers/erasures.ts'
import { connectClient, startGateway } from '../helpers/gateway.ts'
import { isOnKafkaNode } from '../helpers/kafka.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'
import { publishTimes, timesOf, toJournal } from './erasing.ts'
import { createSinkRig, startSink, toRow } from './rig.ts'

if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)

  for (const step of ['registered', 'logged'] satisfies ErasureStep[]) {
    t.test(`the gateway that was asked dies when ${step}: records behind the markers wait, and another gateway goes on`, async (t) => {
      await rig.makeAnew(6)
      const { connectionString, query } = await createTestDatabase(t)
      const sink = await startSink(t, rig, connectionString, { limits: { heldToldMs: 0 } })
      const asked = await spawnDoomed(t, toJournal(rig, connectionString), step)
      await publishTimes(t, asked.mqttPort, 'a', [1, 2, 3])
      await publishTimes(t, asked.mqttPort, 'b', [1])
      await until(async () => (await query('select 1 from readings')).length === 4)
      await t.rejects(erase(asked.httpUrl, 'a'), 'the answer does not come')
      t.same(await asked.exited, [null, 'SIGKILL'])
      if (step === 'logged') {
        await rig.writeReadings([toRow('a', 4), toRow('b', 2)])
        await until(async () => (await timesOf(query, 'b')).length === 2, 'other partitions to go on')
        await until(async () => (await sink.health()).warnings.some((warning) => /waits until a gateway has cleared/.test(warning)))
        t.notOk((await timesOf(query, 'a')).includes(4), 'this reading would be deleted with the others')
      }
      const other = await startGateway(t, toJournal(rig, connectionString))
      await until(async () => (await query('select from erasures where deleted_at is null')).length === 0, 'it is done', 30_000)
      await publishTimes(t, other.mqttPort, 'a', [5])
      await until(async () => (await timesOf(query, 'a')).includes(5))
      t.same(await timesOf(query, 'a'), step === 'logged' ? [4, 5] : [5])
      t.same((await sink.health()).warnings, [])
    })
  }

  t.test('records that a frozen gateway writes behind the markers count as older than the erasure', async (t) => {
    await rig.makeAnew(6)
    const { connectionString, query } = await createTestDatabase(t)
    const sink = await startSink(t, rig, connectionString)
    const asked = await startGateway(t, toJournal(rig, connectionString))
    const frozen = await spawnDoomed(t, toJournal(rig, connectionString))
    const client = await connectClient(t, frozen.mqttPort)
    frozen.child.kill('SIGSTOP')
    await sleep(100)
    // The publish stays in the socket until the gateway wakes.
    const late = client.publishAsync('vital/a', '{"timestamp":1,"heartRateValue":61}', { qos: 1 })
    const answer = await erase(asked.httpUrl, 'a')
    t.equal(answer.status, 200)
    t.same(states(answer), ['confirmed', 'silent'])
    frozen.child.kill('SIGCONT')
    await late
    await publishTimes(t, asked.mqttPort, 'a', [2])
    await until(async () => (await sink.metrics())('vital_readings_refused_total{transport="kafka",reason="erased"}') === 1)
    const isSeen = async () => states(await erase(asked.httpUrl, 'nobody')).join() === 'confirmed,confirmed'
    await until(isSeen, 'the gateway to see the request', 30_000)
    await publishTimes(t, frozen.mqttPort, 'a', [3])
    await until(async () => (await timesOf(query, 'a')).length === 2)
    t.same(await timesOf(query, 'a'), [2, 3])
  })

  t.test('an erasure stays requested while Kafka does not answer, and is carried out later by itself', async (t) => {
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
