/** From Kafka into InfluxDB 1, with the readings that it refuses. */
import { pino } from 'pino'
import t from 'tap'
import { createDatabase } from '../../db/database.ts'
import { selectOffsets } from '../../db/queries/select-offsets.ts'
import { READINGS_TOPIC } from '../../src/kafka/records.ts'
import { trimTopics } from '../../src/kafka/trim-topics.ts'
import { describeMetrics } from '../../src/metrics/describe.ts'
import { exactly } from '../helpers/exactly.ts'
import { isOnKafkaNode } from '../helpers/kafka.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { NO_INFLUXDB, startInfluxDb } from '../helpers/time-series.ts'
import { until } from '../helpers/until.ts'
import { createSinkRig, toRecord, toRow, toRows } from '../sink/rig.ts'
import { isExported, startExport, toVariables } from './rig.ts'

if (NO_INFLUXDB !== false) t.pass(`left out: ${NO_INFLUXDB}`, { skip: NO_INFLUXDB })
else if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)

  t.test('each reading of Kafka comes into the database once, and topics trim waits for it', async (t) => {
    await rig.makeAnew(3)
    const influx = await startInfluxDb(t)
    const { connectionString, query } = await createTestDatabase(t)
    const rows = toRows(600)
    await rig.writeReadings([...rows, ...rows.slice(0, 50), toRow('alive', 1_750_240_000)])
    await rig.writeReadings([
      toRow('digits', 1_750_240_000.123457, { heartRateValue: 61.25, ward: { bed: [1, 2.5] }, on: true, note: 'a "b"\\\nc' }),
      // Another reading of the same microsecond.
      toRow('digits', 1_750_240_000.123457, { heartRateValue: 62 })
    ])
    await rig.write([{ ...toRecord(toRow('d2', 1)), value: Buffer.from('{"device":') }])
    const exported = await startExport(t, toVariables(rig, influx, connectionString))
    await until(async () => await isExported(rig, query))
    t.equal(await influx.count(), 602)
    const [points = []] = await influx.query('select "heartRateValue", ward, "on", note from vital where device = \'digits\'')
    t.same(points.map(([, ...values]) => values).sort((a, b) => Number(a[0]) - Number(b[0])),
      [[61.25, '{"bed":[1,2.5]}', true, 'a "b"\\\nc'], [62, null, null, null]])
    for (const [time] of points) t.equal(Math.floor(Number(time) / 1e6), 1_750_240_000_123)
    t.equal(await exported.metric('vital_export_readings_total'), 653)
    t.equal(await exported.metric('vital_export_without_values_total'), 1)
    t.equal(await exported.metric('vital_export_unreadable_total'), 1)
    t.equal(await exported.metric('vital_export_lag_records'), 0)
    t.same(await exported.warnings(), [])
    t.ok(await exported.isReady())
    const described = describeMetrics().registry.getMetricsAsArray().map(({ name }) => name)
      .filter((name) => name.startsWith('vital_export_'))
    const exposition = await (await fetch(`${exported.url}/metrics`)).text()
    t.same([...exposition.matchAll(/^# TYPE (vital_export_\w+)/gm)].map(([, name]) => name).sort(), described.sort())

    const database = createDatabase({ connectionString, poolSize: 1, logger: pino({ level: 'silent' }) })
    await query('update sink_offsets set next_offset = next_offset - 1 where partition = 0')
    const trimmed = await trimTopics({
      admin: rig.admin,
      findEpochEnds: (asked) => Promise.resolve(asked.map((epoch) => ({ ...epoch, askedEpoch: epoch.leaderEpoch, endOffset: Infinity }))),
      offsets: await selectOffsets(database.kysely),
      keptSinceMs: Date.now() + 60_000,
      isDryRun: true
    })
    await database.close()
    t.equal(trimmed.find(({ topic, partition }) => topic === READINGS_TOPIC && partition === 0)?.heldBy, 'vital-export')
  })

  t.test('a new group begins at the first record that the log has; a group that has a position never skips', async (t) => {
    await rig.makeAnew(1)
    const influx = await startInfluxDb(t)
    const { connectionString, query } = await createTestDatabase(t)
    const trim = (offset: bigint) => rig.admin.deleteRecords({ topics: [{ name: READINGS_TOPIC, partitions: [{ partition: 0, offset }] }] })
    await rig.writeReadings(toRows(600))
    await trim(200n)
    const exported = await startExport(t, toVariables(rig, influx, connectionString))
    await until(async () => await isExported(rig, query))
    t.equal(await influx.count(), 400)
    t.ok(await exported.isReady())
    t.match(exported.lines.filter(({ msg }) => msg.startsWith('a new group begins')), [{ level: 30, partition: 0, offset: 200 }])
    await exported.service.stop()

    await rig.writeReadings(toRows(100, { from: 1000 }))
    await trim(650n)
    const next = await startExport(t, toVariables(rig, influx, connectionString))
    await until(async () => (await next.warnings()).some((each) => each.startsWith('partition')))
    t.match(await next.warnings(), [/^partition 0 of vital\.readings does not have the position 600,.*set next_offset.*\.md#out-of-range/])
    t.equal(await influx.count(), 400)
    t.notOk(next.said(/^a new group begins/))
  })

  t.test('a field of another type: that reading alone becomes a dead letter', async (t) => {
    await rig.makeAnew(1)
    const influx = await startInfluxDb(t)
    const { connectionString, query } = await createTestDatabase(t)
    await rig.writeReadings([
      toRow('d', 1, { level: 88 }), toRow('d', 2, { level: 'high', heartRateValue: 60 }), ...toRows(50), toRow('d', 3, { level: 89 })
    ])
    const exported = await startExport(t, toVariables(rig, influx, connectionString))
    await until(async () => await isExported(rig, query))
    t.same([await influx.count('level'), await influx.count()], [2, 50])
    t.match(await query('select device, reason, errors, payload from dead_letters'), exactly({
      device: 'd', reason: 'database_rejected', errors: exactly({ message: /^the database refused it: partial write: field type conflict/ })
    }))
    t.equal(await exported.metric('vital_export_dead_lettered_total'), 1)
    t.equal(await exported.metric('vital_export_readings_total'), 52)
    t.same(await exported.warnings(), [])
  })

  t.test('one device more than max-values-per-tag: the export waits with a warning, and goes on once it is raised', async (t) => {
    await rig.makeAnew(1)
    const influx = await startInfluxDb(t, 'max-values-per-tag = 20')
    const { connectionString, query } = await createTestDatabase(t)
    await rig.writeReadings(toRows(100, { devices: 20 }))
    const exported = await startExport(t, toVariables(rig, influx, connectionString), { retryMsMax: 500 })
    await until(async () => await isExported(rig, query))
    await rig.writeReadings([...toRows(20, { devices: 20, from: 500 }), toRow('one more', 1_750_240_000, { heartRateValue: 1 })])
    const isTold = (warning: string) => /takes no more devices: max-values-per-tag limit exceeded/.test(warning)
    await until(async () => (await exported.warnings()).some(isTold))
    t.notOk(await exported.isReady())
    t.equal(await exported.metric('vital_export_up'), 0)
    t.notMatch(JSON.stringify(exported.lines), /one more/)
    t.same(await query('select sum(next_offset)::int as offset, (select count(*)::int from dead_letters) as letters from sink_offsets'),
      [{ offset: 100, letters: 0 }])
    await influx.kill()
    await influx.raise()
    await until(async () => await isExported(rig, query))
    t.same([await influx.count(), await influx.count('heartRateValue', 'one more')], [121, 1])
    await until(async () => (await exported.warnings()).length === 0)
    t.equal((await query('select from dead_letters')).length, 0)
  })

  t.test('points older than the retention are counted, and a missing database is warned of', async (t) => {
    await rig.makeAnew(1)
    const influx = await startInfluxDb(t)
    const { connectionString, query } = await createTestDatabase(t)
    await influx.command('drop database vital')
    await rig.writeReadings([...toRows(10), toRow('now', Math.floor(Date.now() / 1000), { heartRateValue: 60 })])
    const exported = await startExport(t, toVariables(rig, influx, connectionString), { retryMsMax: 500 })
    await until(async () => (await exported.warnings()).some((warning) => /it answers 404: database not found: "vital"$/.test(warning)))
    await influx.command('create database vital with duration 1d')
    await until(async () => await isExported(rig, query))
    t.equal(await influx.count(), 1)
    t.equal(await exported.metric('vital_export_ignored_total'), 10)
    t.match(await exported.warnings(), exactly(/dropped values that it had taken: 10 retention/))
    t.equal((await query('select from dead_letters')).length, 0)
  })

  t.test('the database is away for a while, and frozen for a while', async (t) => {
    await rig.makeAnew(3)
    const influx = await startInfluxDb(t)
    const { connectionString, query } = await createTestDatabase(t)
    const exported = await startExport(t, toVariables(rig, influx, connectionString), { retryMsMax: 500, writeTimeoutMs: 1000 })
    await influx.kill()
    await rig.writeReadings(toRows(100))
    await until(async () => await exported.metric('vital_export_up') === 0)
    await influx.start()
    await until(async () => await isExported(rig, query))
    influx.freeze()
    await rig.writeReadings(toRows(100, { from: 100 }))
    await until(async () => (await exported.warnings()).some((warning) => /does not answer within 1000 ms/.test(warning)))
    influx.thaw()
    await until(async () => await isExported(rig, query))
    t.equal(await influx.count(), 200)
    t.equal((await query('select from dead_letters')).length, 0)
  })
}
