import t, { type Test } from 'tap'
import { READINGS_TOPIC } from '../../src/kafka/records.ts'
import { createDatabaseSwitch } from '../helpers/database-switch.ts'
import { spawnGateway } from '../helpers/gateway-process.ts'
import { isOnKafkaNode } from '../helpers/kafka.ts'
import { createTestDatabase, type TestDatabase } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'
import { createSinkRig, startSink, toRow, toRows } from './rig.ts'

type Query = TestDatabase['query']

const count = async (query: Query) => (await query<{ n: number }>('select count(*)::int as n from readings'))[0]!.n

/** Asserts that every reading is stored once, and that the latest state of each device is right. */
async function checkStored (t: Test, query: Query, rows: ReturnType<typeof toRows>): Promise<void> {
  t.equal(await count(query), rows.length, 'as many rows as readings')
  const stored = await query<{ device: string, us: string }>('select device, (extract(epoch from time) * 1000000)::bigint::text as us ' +
    'from readings')
  const wanted = new Set(rows.map(({ device, timeUs }) => `${device} ${timeUs}`))
  t.equal(stored.filter(({ device, us }) => wanted.delete(`${device} ${us}`)).length, rows.length, 'and no others')
  const newest = new Map<string, number>()
  for (const { device, timeUs } of rows) newest.set(device, Math.max(timeUs, newest.get(device) ?? 0))
  const latest = await query<{ device: string, us: string }>('select device, (extract(epoch from time) * 1000000)::bigint::text as us ' +
    'from latest')
  t.same(latest.map(({ device, us }) => `${device} ${us}`).sort(),
    [...newest].map(([device, us]) => `${device} ${us}`).sort(), 'latest is exact')
}

if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)
  const spawnSink = async (t: Test, connectionString: string) => {
    const variables = { DATABASE_URL: connectionString, KAFKA_BROKERS: rig.kafka.brokers, VITAL_BATCH_READINGS_MAX: '200' }
    return await spawnGateway(t, variables, { program: 'src/sink-main.ts' })
  }

  t.test('two sinks, one killed during a drain, one frozen until it loses its partitions: each reading is stored once', async (t) => {
    await rig.makeAnew()
    const { connectionString, query } = await createTestDatabase(t)
    // A slow insert, so that the drain lasts longer than the faults.
    await query('create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.05); return null; end $$')
    await query('create trigger slow after insert on readings for each statement execute function slow()')
    const [killed, frozen] = [await spawnSink(t, connectionString), await spawnSink(t, connectionString)]
    const owners = async () => (await query('select distinct owner from sink_offsets')).length
    await until(async () => await owners() === 2, 'both sinks to have partitions')
    const rows = toRows(10_000, { devices: 100 })
    for (let at = 0; at < rows.length; at += 2000) await rig.writeReadings(rows.slice(at, at + 2000))
    await until(async () => await count(query) > 1000)
    killed.child.kill('SIGKILL')
    await until(async () => await count(query) > 2500)
    frozen.child.kill('SIGSTOP')
    const other = await startSink(t, rig, connectionString, { variables: { VITAL_BATCH_READINGS_MAX: '200' } })
    await until(async () => await owners() === 1, 'the third sink to have all partitions')
    frozen.child.kill('SIGCONT')
    await until(async () => await count(query) === rows.length)
    await checkStored(t, query, rows)
    const behind = async () => {
      const ends = await rig.ends()
      const stored = await query<{ next: number }>('select next_offset::int as next from sink_offsets where topic = ' +
        `'${READINGS_TOPIC}' order by partition`)
      return stored.map(({ next }, partition) => ends[partition]! - next).filter((lag) => lag !== 0)
    }
    await until(async () => (await behind()).length === 0, 'offsets to be at the end')
    t.ok(await other.isReady())
    frozen.child.kill('SIGTERM')
    t.same(await frozen.exited, [0, null])
  })

  t.test('a batch of a sink that was replaced is refused, and its records are read again', async (t) => {
    await rig.makeAnew()
    const { connectionString, query } = await createTestDatabase(t)
    const sink = await startSink(t, rig, connectionString, { limits: { reclaimMs: 300 } })
    await until(sink.isReady)
    await rig.writeReadings(toRows(60))
    await until(async () => await count(query) === 60)
    await query('update sink_offsets set epoch = epoch + 1')
    await rig.writeReadings(toRows(60, { from: 100 }))
    await until(async () => await count(query) === 120)
    const metric = await sink.metrics()
    t.ok(metric('vital_sink_replaced_total') >= 1)
    t.equal(metric('vital_readings_stored_total{transport="kafka"}'), 120)
    t.equal(metric('vital_readings_duplicate_total{transport="kafka"}'), 0, 'nothing of the refused batch was stored')
    t.equal(metric('vital_readings_refused_total'), metric('vital_readings_received_total') - 120, 'given up readings are counted')
    t.ok(sink.said(/another sink has taken this partition over/))
  })

  t.test('PostgreSQL goes away during a drain and comes back', async (t) => {
    await rig.makeAnew()
    const database = await createDatabaseSwitch(t)
    const partitionBytesMax = 20_000
    const sink = await startSink(t, rig, database.connectionString, { limits: { partitionBytesMax, fetchPartitionBytesMax: 10_000 } })
    await until(sink.isReady)
    await rig.writeReadings(toRows(60))
    await until(async () => await count(database.query) === 60)
    await database.off()
    const rows = toRows(6000, { devices: 60, from: 1000 })
    for (let at = 0; at < rows.length; at += 500) await rig.writeReadings(rows.slice(at, at + 500))
    await until(async () => !await sink.isReady())
    await until(async () => (await sink.metrics())('vital_sink_partitions{state="full"}') === 6, 'partitions to be paused')
    const metric = await sink.metrics()
    t.equal(metric('vital_database_up'), 0)
    // A fetch may bring whole batches of records, of 500 readings here.
    t.ok(metric('vital_sink_buffer_bytes') < 6 * (partitionBytesMax + 200 * 250), `${metric('vital_sink_buffer_bytes')} bytes`)
    t.match((await sink.health()).warnings, [/PostgreSQL does not take batches/])
    await database.on()
    await until(async () => await count(database.query) === 6060)
    await until(sink.isReady)
    t.equal((await sink.metrics())('vital_readings_pending'), 0)
  })

  t.test('a position that Kafka does not have stops its partition with a warning, until an operator moves it; the ' +
    'others go on', async (t) => {
    await rig.makeAnew()
    const { connectionString, query } = await createTestDatabase(t)
    const first = await startSink(t, rig, connectionString)
    await until(first.isReady)
    await rig.writeReadings(toRows(600))
    await until(async () => await count(query) === 600)
    await first.sink.stop()
    await rig.writeReadings(toRows(600, { from: 1000 }))
    const [end] = await rig.ends() as [number]
    await rig.admin.deleteRecords({ topics: [{ name: READINGS_TOPIC, partitions: [{ partition: 0, offset: BigInt(end - 10) }] }] })
    const lost = (end - 10) - (await query<{ next: number }>('select next_offset::int as next from sink_offsets where topic = ' +
      `'${READINGS_TOPIC}' and partition = 0`))[0]!.next
    t.ok(lost > 0)
    const sink = await startSink(t, rig, connectionString, { limits: { stoppedMs: 500 } })
    await until(async () => (await sink.metrics())('vital_sink_partitions{state="out_of_range"}') === 1)
    await until(async () => await count(query) >= 1200 - lost - 10)
    t.equal(await sink.isReady(), false)
    t.match((await sink.health()).warnings, [/^partition 0 of vital\.readings does not have the position \d+, up to which it is stored/])
    await until(async () => (await sink.metrics())('vital_sink_lag_seconds{topic="vital.readings",partition="0"}') > 1, 'the lag to grow')
    t.equal(await count(query), 1200 - lost - 10, 'nothing of the partition is stored')
    t.equal(sink.lines.filter(({ msg }) => msg.startsWith('partition 0')).length, 1, 'the stop is logged once')
    await query(`update sink_offsets set next_offset = ${end - 10}, epoch = epoch + 1 where consumer_group = 'vital-sink' and topic = ` +
      `'${READINGS_TOPIC}' and partition = 0`)
    await until(async () => await count(query) === 1200 - lost)
    await until(sink.isReady)
    t.same((await sink.health()).warnings, [])
  })

  t.test('a recreated topic is read from 0, and a warning says so', async (t) => {
    await rig.makeAnew()
    const { connectionString, query } = await createTestDatabase(t)
    const sink = await startSink(t, rig, connectionString)
    await until(sink.isReady)
    await rig.writeReadings(toRows(600))
    await until(async () => await count(query) === 600)
    await rig.makeAnew()
    await rig.writeReadings(toRows(60, { from: 1000 }))
    await until(async () => await count(query) === 660, 'all records of the new topic, which ends below the stored positions')
    t.match((await sink.health()).warnings, [/was deleted and made again: it is read from its beginning/, /was deleted and made again/])
    t.equal(sink.lines.filter(({ msg }) => msg.includes('was deleted and made again')).length, 2, 'each topic is logged once')
    t.equal((await query(`select distinct topic_id from sink_offsets where topic = '${READINGS_TOPIC}'`)).length, 2)
  })

  t.test('with a frozen broker a sink is not ready; later it joins again by itself, and goes on', async (t) => {
    await rig.makeAnew()
    const { connectionString, query } = await createTestDatabase(t)
    const sink = await startSink(t, rig, connectionString, { limits: { stuckMs: 3000, requestTimeoutMs: 1000 } })
    await until(sink.isReady)
    await rig.writeReadings([toRow('a', 1)])
    await until(async () => await count(query) === 1)
    rig.kafka.freeze()
    try {
      await until(async () => !await sink.isReady())
      await until(async () => (await sink.metrics())('vital_sink_rejoins_total') >= 1)
      t.match((await sink.health()).warnings, [/^the consumer group does not answer/])
    } finally {
      rig.kafka.thaw()
    }
    await rig.writeReadings([toRow('a', 2)])
    await until(async () => await count(query) === 2)
    await until(sink.isReady)
  })
}
