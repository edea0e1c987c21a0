/** Erasing a device with readings in files, in Kafka, and still to come. */
import t from 'tap'
import { toReadingRecord } from '../../src/kafka/reading-record.ts'
import { erase } from '../helpers/erasures.ts'
import { exactly } from '../helpers/exactly.ts'
import { startGateway } from '../helpers/gateway.ts'
import { isOnKafkaNode } from '../helpers/kafka.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { NO_STORE } from '../helpers/seaweedfs.ts'
import { until } from '../helpers/until.ts'
import { MOVED, publishTimes, toJournal } from '../sink/erasing.ts'
import { createSinkRig, toRow } from '../sink/rig.ts'
import { createLakeRig, isWritten, type Place, spawnLake, startLake, toVariables } from './rig.ts'

const HOUR_S = 3600
const FIRST_S = 1_750_240_000

/** By device: readings, and distinct readings. */
const COUNTS = 'select device, count(*)::int, count(distinct id)::int from lake group by 1 order by 1'

/** The times of the readings of a device, in seconds since `FIRST_S`. */
const secondsOf = async ({ read }: Place, device: string) =>
  (await read(`select (epoch("time") - ${FIRST_S})::int from lake where device = '${device}' order by 1`)).flat()

/** The number of plans that name a device. */
async function countPlansOf ({ objects }: Place, device: string): Promise<number> {
  let plans = 0
  for await (const { key } of objects.list('_plans/')) if ((await objects.read(key))!.text.includes(JSON.stringify(device))) plans++
  return plans
}

const toRowsOf = (devices: readonly string[], seconds: readonly number[]) =>
  seconds.flatMap((second) => devices.map((device) => toRow(device, FIRST_S + second, { heartRateValue: 60 })))

if (NO_STORE !== false) t.pass(`left out: ${NO_STORE}`, { skip: NO_STORE })
else if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)
  const { createPlace } = await createLakeRig(t)

  t.test('readings in files, also of the former partition, and in Kafka are erased; others and later ones are kept', async (t) => {
    await rig.makeAnew(3)
    const place = await createPlace(t)
    const { connectionString, query } = await createTestDatabase(t)
    const variables = toVariables(rig, place, connectionString)
    const devices = [MOVED, 'it\'s', 'other']
    const first = await startLake(t, variables)
    await rig.writeReadings(toRowsOf(devices, [0, 1, HOUR_S, 2 * HOUR_S]))
    await until(async () => await isWritten(rig, query))
    await rig.grow(6)
    await rig.writeReadings(toRowsOf(devices, [2, 5 * HOUR_S]))
    await until(async () => await isWritten(rig, query), 'the new partitions are written', 30_000)
    t.same(await place.read(COUNTS), [...devices].sort().map((device) => [device, 6, 6]))
    await first.lake.stop()

    // These readings wait in Kafka, before the markers.
    await rig.writeReadings(toRowsOf(devices, [3, HOUR_S + 3]))
    const gateway = await startGateway(t, toJournal(rig, connectionString))
    t.match(await erase(gateway.httpUrl, MOVED), {
      status: 200, remains: exactly({ where: 'Kafka' }, { where: 'files of the lake of vital-lake', until: /marker/ }, { where: 'backups' })
    })
    t.match(await erase(gateway.httpUrl, encodeURIComponent('it\'s')), { status: 200 })
    await publishTimes(t, gateway.mqttPort, MOVED, [FIRST_S + 7, FIRST_S + HOUR_S + 7])
    // Readings of a gateway that does not know of the erasure.
    await rig.write([toReadingRecord({ row: toRow(MOVED, FIRST_S + 8), transport: 'mqtt', clientId: null }, 0)])
    await rig.writeReadings(toRowsOf(['other'], [4]))
    const second = await startLake(t, variables)
    await until(async () => await isWritten(rig, query))
    t.same(await secondsOf(place, MOVED), [7, HOUR_S + 7])
    t.same(await secondsOf(place, 'it\'\'s'), [])
    t.equal(await countPlansOf(place, 'it\'s'), 0)
    t.ok(await countPlansOf(place, 'other') > 0)
    t.same(await place.read(COUNTS), [[MOVED, 2, 2], ['other', 9, 9]])
    t.ok(second.said(/^a file was rewritten without a device that is erased$/))
    t.ok(await second.metric('vital_lake_rewritten_files_total') > 0)
    t.equal(await second.metric('vital_lake_erased_total'), 1)
    t.equal(await second.metric('vital_lake_duplicates_total'), 0)
    await second.lake.stop()

    await t.test('erased again, with later readings in files', async (t) => {
      t.match(await erase(gateway.httpUrl, MOVED), { status: 200 })
      await publishTimes(t, gateway.mqttPort, MOVED, [FIRST_S + 9])
      await startLake(t, variables)
      await until(async () => await isWritten(rig, query))
      t.same(await secondsOf(place, MOVED), [9])
      t.same(await place.read(COUNTS), [[MOVED, 1, 1], ['other', 9, 9]])
    })
  })

  t.test('a lake that is killed during the rewrite: another one completes it', { timeout: 120_000 }, async (t) => {
    await rig.makeAnew(1)
    const place = await createPlace(t)
    const { connectionString, query } = await createTestDatabase(t)
    const variables = toVariables(rig, place, connectionString)
    const hours = Array.from({ length: 60 }, (_, hour) => hour * HOUR_S)
    const first = await startLake(t, variables)
    await rig.writeReadings(toRowsOf(['gone', 'other'], hours))
    await until(async () => await isWritten(rig, query))
    await first.lake.stop()
    t.same(await place.read(COUNTS), [['gone', 60, 60], ['other', 60, 60]])
    const gateway = await startGateway(t, toJournal(rig, connectionString))
    t.match(await erase(gateway.httpUrl, 'gone'), { status: 200 })
    await publishTimes(t, gateway.mqttPort, 'gone', [FIRST_S + 7])

    const killed = await spawnLake(t, variables)
    await killed.said(/^a file was rewritten/)
    killed.child.kill('SIGKILL')
    await killed.exited
    const left = (await secondsOf(place, 'gone')).length
    t.ok(left > 1 && left < 61, `${left} readings of the device were left`)

    await startLake(t, variables)
    await until(async () => await isWritten(rig, query), 'another lake to take over', 60_000)
    t.same(await place.read(COUNTS), [['gone', 1, 1], ['other', 60, 60]])
    t.same(await secondsOf(place, 'gone'), [7])
    t.equal(await countPlansOf(place, 'gone'), 1, 'only the plan whose files hold the device')
  })
}
