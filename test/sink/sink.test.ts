import { randomUUID } from 'node:crypto'
import t from 'tap'
import { READINGS_TOPIC } from '../../src/kafka/records.ts'
import { describeMetrics } from '../../src/metrics/describe.ts'
import type { DeadLetterRow } from '../../db/rows.ts'
import { isOnKafkaNode } from '../helpers/kafka.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'
import { createSinkRig, startSink, toRecord, toRow, toRows } from './rig.ts'

const toLetter = (device: string): DeadLetterRow => ({
  id: randomUUID(),
  receivedAtMs: 1_750_240_900_000,
  transport: 'http',
  topic: null,
  clientId: 'c',
  device,
  reason: 'invalid_json',
  errors: [{ path: '/x', message: 'wrong' }],
  payload: Buffer.from('{')
})

if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)

  t.test('what is in Kafka comes into PostgreSQL, once, and the books balance', async (t) => {
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
    const count = 'select (select count(*)::int from readings) as readings, (select count(*)::int from latest) as latest, (select count(*)::int from dead_letters) as letters'
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
    t.equal((await fetch(`${sink.url}/vital-data`)).status, 404, 'it answers no reads')
    const described = describeMetrics().registry.getMetricsAsArray().map(({ name }) => name)
      .filter((name) => name.startsWith('vital_sink_'))
    const exposition = await (await fetch(`${sink.url}/metrics`)).text()
    t.same([...exposition.matchAll(/^# TYPE (vital_sink_\w+)/gm)].map(([, name]) => name).sort(), described.sort())
  })

  t.test('a stop stores what was read, leaves the group at once, and the next start goes on', async (t) => {
    await rig.makeAnew()
    const { connectionString, query } = await createTestDatabase(t)
    const first = await startSink(t, rig, connectionString)
    await rig.writeReadings(toRows(300))
    await until(async () => (await query('select 1 from readings')).length === 300)
    await first.sink.stop()
    await rig.writeReadings(toRows(300, { from: 1000 }))
    const leftAtMs = performance.now()
    const second = await startSink(t, rig, connectionString)
    await until(async () => (await query('select 1 from readings')).length === 600)
    t.ok(performance.now() - leftAtMs < 4000, 'sooner than the group misses a member that was killed')
    const metric = await second.metrics()
    t.equal(metric('vital_readings_received_total'), 300, 'nothing is read again')
    t.equal(metric('vital_readings_duplicate_total'), 0)
  })
}
