import t from 'tap'
import { READINGS_TOPIC } from '../../src/kafka/records.ts'
import { describeMetrics } from '../../src/metrics/describe.ts'
import { isOnKafkaNode } from '../helpers/kafka.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'
import { createSinkRig, startSink, toLetter, toRecord, toRow, toRows } from './rig.ts'

if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)

  t.test('each record of Kafka comes into PostgreSQL once, and the ledger balances', async (t) => {
    await rig.makeAnew()
    const { connectionString, query } = await createTestDatabase(t)
    const rows = toRows(500)
    await rig.writeReadings(rows)
    await rig.writeReadings(rows.slice(0, 100))
    const letter = toLetter('d1')
    await rig.writeLetters([letter, letter])
    const strange = { ...toRecord(toRow('d2', 1)), value: Buffer.from('{"device":') }
    await rig.write([strange])
    const sink = await startSink(t, rig, connectionString)
    const count = `select (select count(*)::int from readings) as readings, (select count(*)::int from latest) as latest,
      (select count(*)::int from dead_letters) as letters`
    const decided = ['stored', 'duplicate', 'dead_lettered', 'refused']
    const total = async (names: readonly string[]) => {
      const metric = await sink.metrics()
      return names.map((name) => metric(`vital_readings_${name}_total`))
    }
    await until(async () => (await total(decided)).reduce((sum, value) => sum + value) === 603)
    t.same(await query(count), [{ readings: 500, latest: 20, letters: 2 }])
    const metric = await sink.metrics()
    t.same(await total(['received', ...decided]), [603, 500, 100, 3, 0])
    t.same([metric('vital_readings_pending'), metric('vital_sink_lag_records'), metric('vital_sink_lag_seconds')], [0, 0, 0])
    t.equal(metric('vital_sink_partitions{state="reading"}'), 12)
    t.match(await query('select transport, client_id, device, reason, errors, payload from dead_letters order by transport'), [
      { transport: 'http', client_id: 'c', device: 'd1', reason: 'invalid_json', payload: Buffer.from('{') },
      {
        transport: 'kafka',
        client_id: null,
        device: 'd2',
        reason: 'invalid_reading',
        payload: strange.value,
        errors: [{ message: /^record \d+ of partition \d of vital\.readings: / }]
      }
    ])
    t.same(await query(`select next_offset::int as next from sink_offsets where topic = '${READINGS_TOPIC}' order by partition`),
      (await rig.ends()).map((next) => ({ next })))
    t.ok(await sink.isReady())
    t.same((await sink.health()).warnings, [])
    t.equal((await fetch(`${sink.url}/vital-data`)).status, 404, 'a sink answers no reads')
    const described = describeMetrics().registry.getMetricsAsArray().map(({ name }) => name)
      .filter((name) => name.startsWith('vital_sink_'))
    const exposition = await (await fetch(`${sink.url}/metrics`)).text()
    t.same([...exposition.matchAll(/^# TYPE (vital_sink_\w+)/gm)].map(([, name]) => name).sort(), described.sort())
  })

  t.test('a stop stores the records that were read and leaves the group at once, and the next start goes on', async (t) => {
    await rig.makeAnew()
    const { connectionString, query } = await createTestDatabase(t)
    const first = await startSink(t, rig, connectionString)
    await rig.writeReadings(toRows(300))
    await until(async () => (await query('select 1 from readings')).length === 300)
    await first.sink.stop()
    t.match((await rig.admin.listGroups({ types: ['consumer'] })).get('vital-sink')?.state, /^empty$/i, 'the sink has left')
    await rig.writeReadings(toRows(300, { from: 1000 }))
    const second = await startSink(t, rig, connectionString)
    await until(async () => (await query('select 1 from readings')).length === 600)
    const metric = await second.metrics()
    t.equal(metric('vital_readings_received_total'), 300, 'nothing is read again')
    t.equal(metric('vital_readings_duplicate_total'), 0)
  })

  t.test('a row that PostgreSQL refuses becomes a dead letter, and the rest of its batch is stored', async (t) => {
    await rig.makeAnew()
    const { connectionString, query } = await createTestDatabase(t)
    await query('alter table readings add constraint no_wonders check (not vitals ? \'wonder\')')
    const good = toRows(300)
    const bad = [1, 2].map((timestamp) => toRow('d3', timestamp, { wonder: timestamp }))
    await rig.writeReadings([...good.slice(0, 100), bad[0]!, ...good.slice(100), bad[1]!])
    const sink = await startSink(t, rig, connectionString)
    await until(async () => (await query('select 1 from readings')).length === 300)
    await until(async () => (await sink.metrics())('vital_sink_lag_records') === 0)
    t.match(await query('select transport, client_id, topic, device, reason, errors from dead_letters'), Array(2).fill({
      transport: 'mqtt', client_id: 'd3', topic: 'vital/d3', device: 'd3', reason: 'database_rejected', errors: [{ message: /no_wonders/ }]
    }))
    const metric = await sink.metrics()
    t.equal(metric('vital_readings_dead_lettered_total{transport="kafka",reason="database_rejected"}'), 2)
    t.equal(metric('vital_readings_stored_total{transport="kafka"}'), 300)
    t.equal(metric('vital_readings_pending'), 0)
    t.ok(await sink.isReady())
  })

  t.test('beyond the caps dead letters are refused, but a valid reading is kept', async (t) => {
    await rig.makeAnew()
    const { connectionString, query } = await createTestDatabase(t)
    await rig.writeLetters([...Array(5).keys()].map(() => toLetter('d1')))
    await rig.writeLetters([{ ...toLetter('d1'), reason: 'database_rejected' }])
    const sink = await startSink(t, rig, connectionString, { variables: { VITAL_DEAD_LETTERS_PER_DEVICE_MAX: '2' } })
    await until(async () => (await sink.metrics())('vital_readings_received_total') === 6)
    await until(async () => (await sink.metrics())('vital_readings_pending') === 0)
    const metric = await sink.metrics()
    t.equal(metric('vital_readings_refused_total{transport="kafka",reason="over_cap"}'), 3)
    t.equal(metric('vital_readings_dead_lettered_total'), 3)
    t.same(await query('select reason, count(*)::int from dead_letters group by 1 order by 1'),
      [{ reason: 'database_rejected', count: 1 }, { reason: 'invalid_json', count: 2 }])
  })

  t.test('a record of an unknown schema: records before it are stored, its partition waits, the others go on', async (t) => {
    await rig.makeAnew()
    const { connectionString, query } = await createTestDatabase(t)
    const [before, newer, after] = [1, 2, 3].map((timestamp) => toRecord(toRow('d1', timestamp)))
    const schema = [...newer!.headers].map(([name, value]): [Buffer, Buffer] =>
      [name, name.toString() === 'schema' ? Buffer.from('2') : value])
    await rig.write([before!, { ...newer!, headers: new Map(schema) }, after!])
    await rig.writeReadings(toRows(60, { devices: 60 }).filter(({ device }) => device !== 'd1'))
    const sink = await startSink(t, rig, connectionString, { limits: { stoppedMs: 300 } })
    await until(async () => (await sink.metrics())('vital_sink_partitions{state="unknown_schema"}') === 1)
    const partition = before!.partition % 6
    const others = toRows(60, { devices: 60 }).filter(({ device }) => toRecord(toRow(device, 1)).partition % 6 !== partition)
    await until(async () => (await query('select 1 from readings')).length >= 1 + others.length)
    t.same(await query('select extract(epoch from time)::int as time from readings where ' +
      'device = \'d1\''), [{ time: 1 }], 'no later record is stored')
    t.equal(await sink.isReady(), false)
    t.match((await sink.health()).warnings, [
      /^record 1 of partition \d of vital\.readings has the schema 2, which this version does not know: upgrade/
    ])
    t.same(await query('select 1 from dead_letters'), [])
    t.same(await query('select next_offset::int as next from sink_offsets where topic = \'vital.readings\' and partition = ' +
      `${partition}`), [{ next: 1 }])
  })

  t.test('6 partitions become 12 while a sink runs: all are read', async (t) => {
    await rig.makeAnew(6)
    const { connectionString, query } = await createTestDatabase(t)
    const sink = await startSink(t, rig, connectionString)
    await rig.writeReadings(toRows(600, { devices: 600 }))
    await until(async () => (await query('select 1 from readings')).length === 600)
    await rig.grow(12)
    await rig.writeReadings(toRows(600, { devices: 600, from: 1000 }))
    await until(async () => (await query('select 1 from readings')).length === 1200, 'new partitions to be read', 60_000)
    t.equal((await query('select 1 from sink_offsets where topic = \'vital.readings\' and next_offset > 0')).length, 12)
    t.equal((await sink.metrics())('vital_sink_partitions{state="reading"}'), 24)
    t.ok(await sink.isReady())
  })

  t.test('missing topics are warned of, and read once they exist', async (t) => {
    await rig.remove()
    const { connectionString, query } = await createTestDatabase(t)
    const sink = await startSink(t, rig, connectionString, { limits: { topicsMs: 300 } })
    const missing = async () => (await sink.health()).warnings.filter((warning) => warning.endsWith('run vital-gateway topics make'))
    await until(async () => (await missing()).length === 2)
    await rig.grow(6)
    await rig.writeReadings(toRows(10))
    await until(async () => (await query('select device from readings')).length === 10, 'the topics to be read', 70_000)
    t.same(await missing(), [])
  })
}
