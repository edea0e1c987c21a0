/** The job of scripts/compose/flink on a real Flink: its averages are compared with the roll-ups of a real gateway. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { toErasureRecord } from '../../src/kafka/erasure-record.ts'
import { READINGS_TOPIC } from '../../src/kafka/records.ts'
import { exactly } from '../helpers/exactly.ts'
import { NO_FLINK, startFlink } from '../helpers/flink.ts'
import { startGateway } from '../helpers/gateway.ts'
import { isOnKafkaNode } from '../helpers/kafka.ts'
import type { TestDatabase } from '../helpers/postgres.ts'
import { createRandom } from '../helpers/random.ts'
import { until } from '../helpers/until.ts'
import { startSink, toRecord, toRow } from '../sink/rig.ts'
import {
  countReadings, createFlinkRig, readAverages, selectAverages, selectRollups, toMessyRecords, toRecordedRows
} from './rig.ts'

/** Flink and its plan take 15 s to start on two busy cores. */
const SLOW_MS = 120_000
t.setTimeout(600_000)

/** A gateway that computes roll-ups of the readings that a sink stores. Settles once they are complete. */
async function awaitRollups (t: Test, query: TestDatabase['query'], connectionString: string, readings: number) {
  await startGateway(t, { DATABASE_URL: connectionString })
  await until(async () => {
    const [row] = await query<{ total: number, marks: number }>(`select (select sum(readings)::int from rollups_5m) as total,
      (select count(*)::int from rollup_late) as marks`)
    return row!.total === readings && row!.marks === 0
  }, 'roll-ups to be complete', SLOW_MS)
}

const marker = (device: string, partition: number) => toErasureRecord({ topic: READINGS_TOPIC, topicId: 'A', partition },
  { marker: '6f8c3c1e-8d0a-4b7e-9a51-0c6d4f1f7a10', device, partitions: [{ topicId: 'A', partition: 5 }] })

async function run (): Promise<void> {
  const rig = await createFlinkRig(t)
  const seed = Number(process.env['VITAL_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
  t.comment(`VITAL_TEST_SEED=${seed}`)
  const random = createRandom(seed)

  t.test('every bucket equals the roll-up, with readings shuffled, late and duplicated, and Flink killed meanwhile', async (t) => {
    const { connectionString, query, brokers } = await rig.createPlace(t)
    const rows = await toRecordedRows(Date.now() / 1000)
    const records = toMessyRecords(rows, random)
    const half = Math.floor(records.length / 2)
    await rig.write(records.slice(0, half))
    const flink = await startFlink(t, { brokers, connectionString })
    await until(async () => await countReadings(query) > 200, 'Flink counts', SLOW_MS)
    await sleep(2000)
    await flink.kill()
    // Two erasure markers of a device that goes on sending, which Flink ignores, and a record that no gateway wrote.
    await rig.write([marker('bidmc-13', 0), ...records.slice(half, half + 200), marker('bidmc-13', 1)])
    flink.start()
    await rig.write([
      { ...toRecord(toRow('d1', 1)), value: Buffer.from('{"device":') },
      { ...toRecord(toRow('d1', 1)), value: Buffer.from('{"device":"d1"}') },
      ...records.slice(half + 200)
    ])
    await startSink(t, rig, connectionString)
    await awaitRollups(t, query, connectionString, rows.length)
    await until(async () => await countReadings(query) >= rows.length, 'Flink to count all readings', SLOW_MS)
    t.match(flink.log(), /started without a state[^]*started from file:\/\/.*chk-\d+/)
    const rollups = await selectRollups(query)
    t.ok(rollups.length > 9)
    t.same(await selectAverages(query), rollups)
    t.match(await query('select reason, device, measured, id from flink.left_out'), exactly(
      { reason: 'unreadable', device: 'd1', measured: null, id: null }
    ))

    await sleep(2000)
    const averages = await readAverages(t, brokers)
    t.equal(averages.size, rollups.length)
    for (const { device, time, readings, ...columns } of rollups) {
      const { heart_rate_count: count, heart_rate_sum: sum, heart_rate_min: min, heart_rate_max: max } = columns
      const from = (time as Date).getTime() / 1000
      const found = averages.get(JSON.stringify({ device, from }))
      t.match(found, { device, from, to: from + 300, count: readings as number })
      t.same(found!.vitals['heartRateValue'], count === 0
        ? { count: 0 }
        : { count, min: Number(min), max: Number(max), mean: Number(sum) / (count as number) }, `${device} ${from}`)
    }
  })

  t.test('a reading beyond the lateness, or ahead, is listed and not counted, and never makes a new row', async (t) => {
    const { connectionString, query, brokers } = await rig.createPlace(t)
    const variables = { FLINK_LATENESS_S: '20', FLINK_AHEAD_S: '10', FLINK_OUTAGE_S: '5' }
    const flink = await startFlink(t, { brokers, connectionString, variables })
    await until(async () => (await fetch(flink.metricsUrl)).ok, 'Flink answers', SLOW_MS)
    const nowS = () => Math.floor(Date.now() / 1000)
    // All readings must be within one bucket.
    await until(() => nowS() % 300 < 290, 'a bucket to begin')
    const baseS = nowS() - 1
    const write = (...timesS: number[]) => rig.writeReadings(timesS.map((timeS) => toRow('d1', timeS, { heartRateValue: 60 })))
    await write(...Array.from({ length: 300 }, (_, index) => baseS + index / 1000))
    await until(async () => await countReadings(query) === 300, '300 are counted', SLOW_MS)
    await write(baseS + 0.3)
    await until(async () => await countReadings(query) === 301, 'a late reading within the lateness to be counted')
    const aheadS = nowS() + 60
    await write(aheadS)
    await until(() => nowS() > baseS + 22, 'the lateness to pass')
    await write(baseS + 0.4, baseS + 0.4)
    const leftOut = () => query('select reason, device, measured::float from flink.left_out order by logged')
    await until(async () => (await leftOut()).length === 2, 'both readings to be listed')
    t.same(await leftOut(), [
      { reason: 'ahead', device: 'd1', measured: aheadS }, { reason: 'late', device: 'd1', measured: baseS + 0.4 }
    ])
    t.equal(await countReadings(query), 301)

    // As after an outage longer than configured: the state may have expired.
    await sleep(2000)
    await flink.kill()
    const freshS = nowS()
    await write(freshS)
    await sleep(6000)
    const started = join(flink.stateDir, 'started')
    const [, ...settings] = (await readFile(started, 'utf8')).split(' ')
    await writeFile(started, ['1', ...settings].join(' '))
    flink.start()
    await until(async () => (await leftOut()).length === 3, 'the reading to be listed', SLOW_MS)
    t.match((await leftOut())[2], { reason: 'behind', measured: freshS })
    t.equal(await countReadings(query), 301, 'and no new row is made')
    await write(nowS())
    await until(async () => await countReadings(query) === 302, 'a reading on time to be counted')
  })

  t.test('after an outage shorter than configured, readings that waited in Kafka are counted, however old they are', async (t) => {
    const { connectionString, query, brokers } = await rig.createPlace(t)
    const variables = { FLINK_LATENESS_S: '5', FLINK_AHEAD_S: '5' }
    const flink = await startFlink(t, { brokers, connectionString, variables })
    const write = (timeS: number) => rig.writeReadings([toRow('d1', timeS, { heartRateValue: 1e30, spo2Value: 0.5 })])
    await write(Math.floor(Date.now() / 1000))
    await until(async () => await countReadings(query) === 1, 'one is counted', SLOW_MS)
    await sleep(2000)
    await flink.kill()
    await write(Math.floor(Date.now() / 1000) + 1)
    await sleep(8000)
    flink.start()
    await until(async () => await countReadings(query) === 2, 'both are counted', SLOW_MS)
    t.same(await query('select from flink.left_out'), [])
    t.match(await query('select sum(heart_rate_count)::int as heart_rate, sum(spo2_count)::int as spo2 from flink.averages_5m'),
      exactly({ heart_rate: 0, spo2: 2 }), 'a value beyond DECIMAL(38, 18) is not counted')
    await flink.kill()

    flink.start({ FLINK_LATENESS_S: '60' })
    await until(() => flink.hasEnded())
    t.match(flink.log(), /the state of .* was made with lateness, ahead and outage of 5 5 172800 s/, 'a state of other settings is refused')
  })

  t.test('a record of a newer schema ends the job, and is not skipped', async (t) => {
    const { connectionString, query, brokers } = await rig.createPlace(t)
    const newer = toRecord(toRow('d1', 1))
    const headers = new Map([...newer.headers].map(([name, value]) => [name, name.toString() === 'schema' ? Buffer.from('2') : value]))
    await rig.write([{ ...newer, headers }])
    const flink = await startFlink(t, { brokers, connectionString })
    await until(() => /a reading of schema 2/.test(flink.log()), 'the job fails', SLOW_MS)
    t.same(await query('select from flink.left_out'), [])
  })

  t.test('a smaller count does not replace the stored one', async (t) => {
    const { query } = await rig.createPlace(t)
    const columns = (await query<{ column_name: string }>(`select column_name from information_schema.columns
      where table_schema = 'flink' and table_name = 'averages_5m' and column_name ~ '_count$'`)).map((row) => row.column_name)
    const upsert = (readings: number) => query(`insert into flink.averages_5m (device, bucket, readings, ${columns.join(', ')})
      values ('d1', 300, ${readings}, ${columns.map(() => readings).join(', ')})
      on conflict (device, bucket) do update set readings = excluded.readings, heart_rate_count = excluded.heart_rate_count`)
    for (const readings of [300, 1, 301]) await upsert(readings)
    await upsert(2)
    t.same(await query('select readings::int, heart_rate_count::int, time from flink.averages_5m'),
      [{ readings: 301, heart_rate_count: 301, time: new Date(300_000) }])
  })
}

if (NO_FLINK !== false) t.pass(`left out: ${NO_FLINK}`, { skip: NO_FLINK })
else if (await isOnKafkaNode(t, import.meta.filename)) await run()
