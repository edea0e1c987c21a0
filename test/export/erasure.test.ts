/** Erasing a device with readings in the database, in Kafka, and still to come. */
import t, { type Test } from 'tap'
import { toReadingRecord } from '../../src/kafka/reading-record.ts'
import { erase } from '../helpers/erasures.ts'
import { exactly } from '../helpers/exactly.ts'
import { startGateway } from '../helpers/gateway.ts'
import { isOnKafkaNode } from '../helpers/kafka.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import {
  NO_INFLUXDB, NO_QUESTDB, NO_VICTORIAMETRICS, startInfluxDb, startQuestDb, startVictoriaMetrics, type TimeSeries
} from '../helpers/time-series.ts'
import { until } from '../helpers/until.ts'
import { MOVED, publishTimes, toJournal } from '../sink/erasing.ts'
import { createSinkRig, toRow } from '../sink/rig.ts'
import { isExported, startExport, toVariables } from './rig.ts'

const FIRST_S = 1_750_240_000
const ODD = 'it\'s "a" \\'
const ENGINES: ReadonlyArray<[string, string | false, (t: Test) => Promise<TimeSeries>]> = [
  ['InfluxDB', NO_INFLUXDB, startInfluxDb], ['VictoriaMetrics', NO_VICTORIAMETRICS, startVictoriaMetrics]
]

const toRowsOf = (devices: readonly string[], seconds: readonly number[]) =>
  seconds.flatMap((second) => devices.map((device) => toRow(device, FIRST_S + second, { heartRateValue: 60 })))

if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)
  for (const [name, missing, start] of ENGINES) {
    t.test(`${name}: stored readings, also of the former partition, and waiting ones are erased; others and later ones are kept`, {
      skip: missing, timeout: 120_000
    }, async (t) => {
      await rig.makeAnew(3)
      const database = await start(t)
      const { connectionString, query } = await createTestDatabase(t)
      const variables = toVariables(rig, database, connectionString)
      const devices = [MOVED, ODD, 'other']
      const first = await startExport(t, variables)
      await rig.writeReadings(toRowsOf(devices, [0, 1]))
      await until(async () => await isExported(rig, query))
      await rig.grow(6)
      await rig.writeReadings(toRowsOf(devices, [2]))
      await until(async () => await isExported(rig, query), 'the new partitions are written', 30_000)
      t.same(await database.devices(), [...devices].sort())
      t.equal(await database.count(), 9)
      const gateway = await startGateway(t, toJournal(rig, connectionString))

      // An export that runs during the erasure.
      t.match(await erase(gateway.httpUrl, encodeURIComponent(ODD)), { status: 200 })
      await until(async () => await isExported(rig, query))
      t.same(await database.devices(), [MOVED, 'other'].sort())
      t.equal(await first.metric('vital_export_erasures_total'), 6)
      await first.service.stop()

      // An export that is down during the erasure. These readings wait in Kafka, before the markers.
      await rig.writeReadings(toRowsOf(devices, [3]))
      t.match(await erase(gateway.httpUrl, MOVED), { status: 200 })
      await publishTimes(t, gateway.mqttPort, MOVED, [FIRST_S + 7, FIRST_S + 8])
      // Readings of a gateway that does not know of the erasure.
      await rig.write([toReadingRecord({ row: toRow(MOVED, FIRST_S + 9), transport: 'mqtt', clientId: null }, 0)])
      await rig.writeReadings(toRowsOf(['other'], [4]))
      const second = await startExport(t, variables)
      await until(async () => await isExported(rig, query))
      t.equal(await database.count('heartRateValue', MOVED), 2)
      t.equal(await database.count('heartRateValue', 'other'), 5)
      t.same(await second.warnings(), [])
      await second.service.stop()

      // The offsets of a backup: all records are read again, and erased readings do not come back.
      await query('update sink_offsets set next_offset = 0, epoch = epoch + 1')
      const third = await startExport(t, variables)
      await until(async () => await isExported(rig, query))
      t.equal(await database.count('heartRateValue', MOVED), 2)
      t.equal(await database.count('heartRateValue', 'other'), 5)
      t.same(await third.warnings(), [])
    })
  }

  t.test('QuestDB cannot delete a device: a warning says so, and the export goes on', { skip: NO_QUESTDB, timeout: 120_000 }, async (t) => {
    await rig.makeAnew(1)
    const database = await startQuestDb(t)
    const { connectionString, query } = await createTestDatabase(t)
    const exported = await startExport(t, toVariables(rig, database, connectionString))
    await rig.writeReadings(toRowsOf(['gone', 'other'], [0, 1]))
    await until(async () => await isExported(rig, query))
    const gateway = await startGateway(t, toJournal(rig, connectionString))
    t.match(await erase(gateway.httpUrl, 'gone'), { status: 200 })
    await rig.writeReadings(toRowsOf(['other'], [2]))
    await until(async () => await isExported(rig, query))
    await until(async () => await database.count('heartRateValue', 'other') === 3)
    t.match(await exported.warnings(), exactly(/still has devices of 1 erasures/))
    t.equal(await exported.metric('vital_export_erasures_left_total'), 1)
    t.ok(exported.said(/cannot delete a device that is erased/))
  })
}
