/** `vital-gateway topics trim` on a real broker: only records that every registered consumer has stored are deleted. */
import t from 'tap'
import { LETTERS_TOPIC, READINGS_TOPIC } from '../../src/kafka/records.ts'
import type { TrimmedPartition } from '../../src/kafka/trim-topics.ts'
import { runCommandLine } from '../helpers/command-line.ts'
import { isOnKafkaNode } from '../helpers/kafka.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { amid, failPower } from '../helpers/power-failure.ts'
import { until } from '../helpers/until.ts'
import { createSinkRig, startSink, toRows } from '../sink/rig.ts'

if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)
  const { connectionString, query } = await createTestDatabase(t)
  const run = (...args: string[]) =>
    runCommandLine(['topics', 'trim', ...args], { KAFKA_BROKERS: rig.kafka.brokers, DATABASE_URL: connectionString })
  const trim = async (...args: string[]) => {
    const { status, stdout, stderr } = await run('--json', '--keep-hours', '0', ...args)
    t.equal(status, 0, stderr)
    return (JSON.parse(stdout) as { partitions: TrimmedPartition[] }).partitions.filter(({ topic }) => topic === READINGS_TOPIC)
  }
  const firsts = async () => {
    const partitions = (await rig.ends()).map((_, partitionIndex) => ({ partitionIndex, timestamp: -2n }))
    const [found] = await rig.admin.listOffsets({ topics: [{ name: READINGS_TOPIC, partitions }] })
    return [...found!.partitions].sort((a, b) => a.partitionIndex - b.partitionIndex).map(({ offset }) => Number(offset))
  }
  const count = async () => (await query<{ n: number }>('select count(*)::int as n from readings'))[0]!.n
  const topicId = async () => (await query<{ id: string }>('select topic_id as id from sink_offsets where topic = ' +
    `'${READINGS_TOPIC}'`))[0]!.id

  t.test('without a registered consumer nothing is deleted', async (t) => {
    await rig.makeAnew(6)
    await rig.writeReadings(toRows(60))
    t.match(await run('--keep-hours', '0'), { status: 1, stderr: /no consumer is registered/ })
    t.same(await firsts(), [0, 0, 0, 0, 0, 0])
  })

  t.test('records that all have stored are deleted, and a slow consumer holds the rest back', async (t) => {
    const sink = await startSink(t, rig, connectionString)
    await rig.writeReadings(toRows(540, { from: 100 }))
    await until(async () => await count() === 600)
    const ends = await rig.ends()
    await until(async () => (await sink.metrics())('vital_sink_lag_records') === 0)
    const young = await run()
    t.equal(young.status, 0)
    t.match(young.stdout, /^vital\.readings +0 +0 +0 +the age of its records$/m, 'the records are not a day old')
    t.match(young.stdout, /^vital\.dead-letters +0 +0 +0 /m)
    t.match(young.stdout, /^0 records deleted$/m)
    await query(`insert into sink_offsets (consumer_group, topic, topic_id, partition, owner, next_offset)
      select 'slow', topic, topic_id, partition, 'x', partition from sink_offsets where topic = '${READINGS_TOPIC}'`)
    const dry = await trim('--dry-run')
    t.same(dry.map(({ from, to, heldBy }) => [from, to, heldBy]), [0, 1, 2, 3, 4, 5].map((to) => [0, to, 'slow']))
    t.same(await firsts(), [0, 0, 0, 0, 0, 0], 'nothing was')
    await trim()
    t.same(await firsts(), [0, 1, 2, 3, 4, 5])
    await query("delete from sink_offsets where consumer_group = 'slow'")
    t.same((await trim()).map(({ from, to }) => [from, to]), ends.map((end, partition) => [partition, end]))
    t.same(await firsts(), ends)
    t.same((await trim()).map(({ from, to }) => to - from), [0, 0, 0, 0, 0, 0], 'a second run has nothing to do')
    await rig.writeReadings(toRows(60, { from: 1000 }))
    await until(async () => await count() === 660)
    t.ok(await sink.isReady(), 'and sinks go on')
  })

  t.test('a consumer that has no position in a new partition holds it back', async (t) => {
    await rig.grow(12)
    await rig.writeReadings(toRows(600, { devices: 600, from: 2000 }))
    const before = await firsts()
    const trimmed = await trim()
    t.same(trimmed.slice(6).map(({ to, heldBy }) => [to, heldBy]), Array(6).fill([0, 'vital-sink, which has no position here']))
    t.same((await firsts()).slice(6), before.slice(6))
  })

  t.test('a partition is left alone where Kafka does not have the stored position', async (t) => {
    await query(`update sink_offsets set next_offset = 1000000 where topic = '${READINGS_TOPIC}' and partition = 0`)
    const before = await firsts()
    t.match((await trim())[0], { from: before[0], to: before[0], heldBy: /position 1000000 Kafka does not have/ })
  })

  t.test('records at the offsets of lost ones are left until each consumer has gone back', async (t) => {
    await rig.makeAnew(1)
    const { connectionString, query } = await createTestDatabase(t)
    const run = () => runCommandLine(['topics', 'trim', '--json', '--keep-hours', '0'], {
      KAFKA_BROKERS: rig.kafka.brokers, DATABASE_URL: connectionString
    })
    const trim = async () => (JSON.parse((await run()).stdout) as { partitions: TrimmedPartition[] }).partitions
      .find(({ topic }) => topic === READINGS_TOPIC)
    const sink = await startSink(t, rig, connectionString)
    for (let at = 0; at < 5; at++) await rig.writeReadings(toRows(20, { from: 5000 + at * 20 }))
    const count = async () => (await query<{ n: number }>('select count(*)::int as n from readings'))[0]!.n
    await until(async () => await count() === 100)
    t.match(await trim(), { from: 0, to: 100 })
    await rig.writeReadings(toRows(20, { from: 6000 }))
    await rig.writeReadings(toRows(20, { from: 6100 }))
    await until(async () => await count() === 140)
    await sink.sink.stop()
    await failPower(rig.kafka, { topic: READINGS_TOPIC }, amid(120))
    for (let at = 0; at < 3; at++) {
      const rows = toRows(20, { from: 7000 + at * 20 })
      await until(() => rig.writeReadings(rows).then(() => true, () => false))
    }
    t.same(await rig.ends(), [180])
    const kept = (await trim())!
    t.match(kept, { to: kept.from, heldBy: 'vital-sink, up to whose position 140 brokers lost records' })
    t.ok(kept.from <= 100)
    await startSink(t, rig, connectionString)
    await until(async () => await count() === 200)
    await until(async () => (await trim())!.to === 180)
  })

  t.test('a topic that was recreated is not taken for the earlier one', async (t) => {
    const former = await topicId()
    await rig.makeAnew(6)
    await rig.writeReadings(toRows(60))
    t.same((await trim()).map(({ to, heldBy }) => [to, heldBy]), Array(6).fill([0, 'vital-sink, which has no position here']))
    await startSink(t, rig, connectionString)
    const ends = await rig.ends()
    await until(async () => (await query(`select 1 from sink_offsets where topic_id <> '${former}' and next_offset > 0`)).length ===
      ends.filter((end) => end > 0).length)
    await trim()
    t.same(await firsts(), ends)
  })

  t.test('topics that do not exist are not created', async (t) => {
    await rig.remove()
    t.same(await trim(), [])
    t.notOk((await rig.admin.listTopics()).includes(LETTERS_TOPIC), 'no topic is created')
  })
}
