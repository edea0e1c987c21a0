/** From Kafka into a store with the API of S3, read with DuckDB. */
import { pino } from 'pino'
import t from 'tap'
import { READINGS_TOPIC } from '../../src/kafka/records.ts'
import { trimTopics } from '../../src/kafka/trim-topics.ts'
import { selectOffsets } from '../../db/queries/select-offsets.ts'
import { describeMetrics } from '../../src/metrics/describe.ts'
import { createDatabase } from '../../db/database.ts'
import { exactly } from '../helpers/exactly.ts'
import { isOnKafkaNode } from '../helpers/kafka.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { NO_STORE } from '../helpers/seaweedfs.ts'
import { until } from '../helpers/until.ts'
import { createSinkRig, toRecord, toRow, toRows } from '../sink/rig.ts'
import { createLakeRig, isWritten, startLake, toVariables } from './rig.ts'

const RANGES = 'select min("offset")::int, max("offset")::int, count(*)::int'
const COUNTS = 'select count(*)::int, count(distinct id)::int from lake'

if (NO_STORE !== false) t.pass(`left out: ${NO_STORE}`, { skip: NO_STORE })
else if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)
  const { createPlace } = await createLakeRig(t)

  t.test('each reading of Kafka comes into a file of its hour, once, and topics trim waits for it', async (t) => {
    await rig.makeAnew(3)
    const place = await createPlace(t)
    const { connectionString, query } = await createTestDatabase(t)
    const rows = toRows(600)
    await rig.writeReadings([...rows, ...rows.slice(0, 50)])
    await rig.writeReadings([
      toRow('digits', 1_750_240_000.123457, { heartRateValue: 61.25, ward: { bed: [1, 2.5] }, spo2Value: 97, note: 'a "b"' }),
      toRow('late', 1_600_000_000, {})
    ])
    await rig.write([{ ...toRecord(toRow('d2', 1)), value: Buffer.from('{"device":') }])
    const lake = await startLake(t, toVariables(rig, place, connectionString))
    await until(async () => await isWritten(rig, query))
    t.same(await place.read(COUNTS), [[602, 602]])
    t.same(await place.read('select distinct device from lake order by 1'),
      [...new Set(rows.map(({ device }) => device)), 'digits', 'late'].sort().map((device) => [device]))
    t.same(await place.read(`select epoch_us("time")::varchar, "heartRateValue", "spo2Value", "breathRateValue", "otherVitals",
      transport, client,
      epoch_ms("receivedAt")::varchar, day::varchar, hour::int, typeof("time") from lake where device = 'digits'`),
    [['1750240000123457', 61.25, 97, null, '{"note":"a \\"b\\"","ward":{"bed":[1,2.5]}}', 'mqtt', 'digits', '1750240900000',
      '2025-06-18', 9, 'TIMESTAMP WITH TIME ZONE']])
    t.same(await place.read('select count(*)::int from lake where day <> "time"::date or hour <> extract(hour from "time")'), [[0]])
    t.match(await place.read('select distinct filename from lake where device = \'late\''),
      exactly([/day=2020-09-13\/hour=12\/[0-9a-f-]{36}-\d-\d+\.parquet$/]))
    t.equal(await lake.metric('vital_lake_readings_total'), 602)
    t.equal(await lake.metric('vital_lake_duplicates_total'), 50)
    t.equal(await lake.metric('vital_lake_unreadable_total'), 1)
    t.equal(await lake.metric('vital_lake_lag_records'), 0)
    t.same(await lake.warnings(), [])
    const described = describeMetrics().registry.getMetricsAsArray().map(({ name }) => name)
      .filter((name) => name.startsWith('vital_lake_'))
    const exposition = await (await fetch(`${lake.url}/metrics`)).text()
    t.same([...exposition.matchAll(/^# TYPE (vital_lake_\w+)/gm)].map(([, name]) => name).sort(), described.sort())

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
    t.equal(trimmed.find(({ topic, partition }) => topic === READINGS_TOPIC && partition === 0)?.heldBy, 'vital-lake')
  })

  t.test('a plan of another lake is carried out unchanged, whatever the limits', async (t) => {
    await rig.makeAnew(1)
    const place = await createPlace(t)
    const { connectionString, query } = await createTestDatabase(t)
    const rows = toRows(100)
    await rig.writeReadings(rows)
    const { topics } = await rig.admin.metadata({ topics: [READINGS_TOPIC], forceUpdate: true })
    const topicId = topics.get(READINGS_TOPIC)!.id
    const plan = {
      topic: READINGS_TOPIC,
      topicId,
      partition: 0,
      firstOffset: 0,
      lastOffset: 36,
      files: [`day=2025-06-18/hour=09/${topicId}-0-0.parquet`],
      devices: [],
      erasures: []
    }
    // Like a lake that was killed after it had put the plan.
    await place.plans.put(plan)
    const lake = await startLake(t, toVariables(rig, place, connectionString))
    await until(async () => await isWritten(rig, query))
    t.same(await place.read(`${RANGES}, parse_filename(filename) from lake group by filename order by 1`),
      [[0, 36, 37, `${topicId}-0-0.parquet`], [37, 99, 63, `${topicId}-0-37.parquet`]])
    t.equal(await lake.metric('vital_lake_replaced_total'), 0)
    await lake.lake.stop()

    const ahead = { ...plan, firstOffset: 100, lastOffset: 120, files: [`day=2025-06-18/hour=09/${topicId}-0-100.parquet`] }
    const second = await startLake(t, { ...toVariables(rig, place, connectionString), VITAL_LAKE_MAX_AGE_S: '3' })
    await until(() => second.said(/^ready$/))
    await rig.writeReadings(toRows(50, { from: 100 }))
    // Like a lake that was faster.
    await place.plans.put(ahead)
    await until(async () => await isWritten(rig, query))
    t.ok(second.said(/another lake has planned this/))
    t.same(await place.read(`${RANGES} from lake where "offset" >= 100 group by filename order by 1`),
      [[100, 120, 21], [121, 149, 29]])
    t.same(await place.read(COUNTS), [[150, 150]])
  })

  t.test('a recreated topic has files of its own, and none of its records is skipped', async (t) => {
    await rig.makeAnew(2)
    const place = await createPlace(t)
    const { connectionString, query } = await createTestDatabase(t)
    await rig.writeReadings(toRows(40))
    const first = await startLake(t, toVariables(rig, place, connectionString))
    await until(async () => await isWritten(rig, query))
    await first.lake.stop()
    await rig.makeAnew(2)
    await rig.writeReadings(toRows(40, { from: 1000 }))
    await startLake(t, toVariables(rig, place, connectionString))
    // The new topic ends at the same offsets as the old one.
    await until(async () => (await query('select distinct topic_id from sink_offsets')).length === 2, 'the new topic to be claimed')
    await until(async () => await isWritten(rig, query))
    t.same(await place.read(COUNTS), [[80, 80]])
  })

  t.test('a record of an unknown schema: records before it are written, and its partition waits', async (t) => {
    await rig.makeAnew(1)
    const place = await createPlace(t)
    const { connectionString } = await createTestDatabase(t)
    const newer = toRecord(toRow('d1', 7))
    newer.headers.set(Buffer.from('schema'), Buffer.from('2'))
    const headers = new Map([...newer.headers].filter(([name, value]) => name.toString() !== 'schema' || value.toString() === '2'))
    await rig.write([...toRows(10).map(toRecord), { ...newer, headers }, ...toRows(10, { from: 1000 }).map(toRecord)])
    const lake = await startLake(t, toVariables(rig, place, connectionString))
    await until(async () => (await place.read(COUNTS)).length > 0 && (await lake.warnings()).some((warning) => /schema 2/.test(warning)))
    t.same(await place.read(COUNTS), [[10, 10]])
  })
}
