/** A broker whose log is truncated as by a power failure, so that acknowledged records are lost: no new record is skipped. */
import pg from 'pg'
import t, { type Test } from 'tap'
import { LETTERS_TOPIC, READINGS_TOPIC } from '../../src/kafka/records.ts'
import { exactly } from '../helpers/exactly.ts'
import { isOnKafkaNode } from '../helpers/kafka.ts'
import { createTestDatabase, type TestDatabase } from '../helpers/postgres.ts'
import { amid, failPower } from '../helpers/power-failure.ts'
import { until } from '../helpers/until.ts'
import { createSinkRig, startSink, toLetter, toRows } from './rig.ts'

if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)
  const count = async (query: TestDatabase['query'], table = 'readings') =>
    (await query<{ n: number }>(`select count(*)::int as n from ${table}`))[0]!.n
  /** Ten batches of a hundred readings. */
  const write = async (hundreds: number, from: number) => {
    for (let at = 0; at < hundreds; at++) {
      const rows = toRows(100, { from: from + at * 100 })
      await until(() => rig.writeReadings(rows).then(() => true, () => false), 'readings to be written')
    }
  }
  /** A database, and a sink that has stored a thousand readings of one partition. */
  async function startStored (t: Test) {
    await rig.makeAnew(1)
    const database = await createTestDatabase(t)
    const sink = await startSink(t, rig, database.connectionString)
    await write(10, 0)
    await until(async () => await count(database.query) === 1000)
    return { ...database, sink }
  }
  const position = async (query: TestDatabase['query']) => (await query<{ next: number, epoch: number }>(`
    select next_offset::int as next, leader_epoch as epoch from sink_offsets
    where topic = '${READINGS_TOPIC}' order by claimed_at desc limit 1`))[0]

  t.test('a sink that was away while the log was truncated, and grew past its position again', async (t) => {
    const { query, connectionString, sink } = await startStored(t)
    t.same(await position(query), { next: 1000, epoch: 0 })
    await sink.sink.stop()
    t.same(await failPower(rig.kafka, { topic: READINGS_TOPIC }, amid(850)), { firstLost: 800, end: 1000 })
    await write(5, 10_000)
    t.same(await rig.ends(), [1300])
    const next = await startSink(t, rig, connectionString)
    await until(async () => await count(query) === 1500)
    await until(() => next.isReady())
    const { epoch } = (await position(query))!
    t.ok(epoch > 0)
    t.same(await position(query), { next: 1300, epoch })
    t.ok(next.said(/brokers lost acknowledged records of partition 0 of vital\.readings, from offset 800 on; those up to 1000 are kept/))
    t.match((await next.health()).warnings, exactly(/brokers lost acknowledged records/), 'the warning stays for a while')
    const metric = await next.metrics()
    t.same([metric('vital_sink_truncations_total'), metric('vital_sink_lag_records')], [1, 0])
  })

  t.test('a running sink, and a second failure that loses the epoch of the first', async (t) => {
    const { query, sink } = await startStored(t)
    await failPower(rig.kafka, { topic: READINGS_TOPIC }, amid(900))
    await until(async () => (await position(query))!.next === 900, 'the sink to go back')
    await write(3, 20_000)
    await until(async () => await count(query) === 1300)
    await failPower(rig.kafka, { topic: READINGS_TOPIC }, amid(500))
    await write(9, 30_000)
    await until(async () => await count(query) === 2200)
    t.same(await rig.ends(), [1400])
    await until(() => sink.isReady())
    t.equal((await sink.metrics())('vital_sink_truncations_total'), 2)
  })

  t.test('records that were read before are stored first', async (t) => {
    const { query, connectionString, sink } = await startStored(t)
    const locking = new pg.Client({ connectionString })
    await locking.connect()
    t.teardown(() => locking.end())
    await locking.query('begin; lock table readings in exclusive mode')
    await write(4, 40_000)
    await until(async () => (await sink.metrics())('vital_sink_buffer_bytes') > 0)
    await until(async () => (await sink.metrics())('vital_sink_lag_records') === 400)
    await failPower(rig.kafka, { topic: READINGS_TOPIC }, amid(1100))
    await write(2, 50_000)
    await until(async () => (await sink.metrics())('vital_sink_partitions{state="cut_back"}') === 1)
    await locking.query('rollback')
    await until(async () => await count(query) === 1600, 'the lost records, and those that the log has now')
    await until(() => sink.isReady())
    t.same((await position(query))!.next, 1300)
  })

  t.test('a restart without loss moves no position, and a position without an epoch is not moved', async (t) => {
    const { query, connectionString, sink } = await startStored(t)
    await rig.kafka.kill()
    await rig.kafka.start()
    await write(1, 60_000)
    await until(async () => await count(query) === 1100)
    await sink.sink.stop()
    await query('update sink_offsets set leader_epoch = null')
    const next = await startSink(t, rig, connectionString)
    await write(1, 70_000)
    await until(async () => await count(query) === 1200)
    t.not((await position(query))!.epoch, null)
    for (const { said } of [sink, next]) t.notOk(said(/brokers lost/))
  })

  t.test('the topic of dead letters is treated in the same way', async (t) => {
    await rig.makeAnew(1)
    const { query, connectionString } = await createTestDatabase(t)
    const sink = await startSink(t, rig, connectionString)
    for (const device of ['a', 'b', 'c']) await rig.writeLetters([toLetter(device)])
    await until(async () => await count(query, 'dead_letters') === 3)
    await failPower(rig.kafka, { topic: LETTERS_TOPIC }, amid(1))
    for (const device of ['d', 'e', 'f']) {
      const letter = toLetter(device)
      await until(() => rig.writeLetters([letter]).then(() => true, () => false))
    }
    await until(async () => await count(query, 'dead_letters') === 6)
    t.ok(sink.said(/partition 0 of vital\.dead-letters, from offset 1 on/))
  })
}
