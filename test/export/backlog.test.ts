/**
 * A backlog into each database. Prints what it took of CPU and memory:
 * `VITAL_TEST_EXPORT_BACKLOG=1000000 npm test -- test/export/backlog.test.ts`
 */
import t, { type Test } from 'tap'
import { readPeakRssBytes, readTreeCpuS } from '../../scripts/harness/process-stat.ts'
import { isOnKafkaNode } from '../helpers/kafka.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import {
  NO_INFLUXDB, NO_QUESTDB, NO_VICTORIAMETRICS, startInfluxDb, startQuestDb, startVictoriaMetrics, type TimeSeries
} from '../helpers/time-series.ts'
import { until } from '../helpers/until.ts'
import { createSinkRig, toRow } from '../sink/rig.ts'
import { isExported, spawnExport, toVariables } from './rig.ts'

const READINGS = Number(process.env['VITAL_TEST_EXPORT_BACKLOG'] ?? 20_000)
const DEVICES = 1000
const ENGINES: ReadonlyArray<[string, string | false, (t: Test) => Promise<TimeSeries>]> = [
  ['InfluxDB', NO_INFLUXDB, startInfluxDb],
  ['VictoriaMetrics', NO_VICTORIAMETRICS, startVictoriaMetrics],
  ['QuestDB', NO_QUESTDB, startQuestDb]
]

if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)
  await rig.makeAnew(12)
  for (let from = 0; from < READINGS; from += 5000) {
    await rig.writeReadings(Array.from({ length: Math.min(5000, READINGS - from) }, (_, n) => {
      const number = from + n
      return toRow(`device-${number % DEVICES}`, 1_750_240_000 + Math.floor(number / DEVICES), {
        heartRateValue: 60 + number % 40 / 4, spo2Value: 97, breathRateValue: 12 + number % 9
      })
    }))
  }
  for (const [name, missing, start] of ENGINES) {
    t.test(`${READINGS} readings into ${name}`, { skip: missing, timeout: 600_000 }, async (t) => {
      const database = await start(t)
      const { connectionString, query } = await createTestDatabase(t)
      const exported = await spawnExport(t, toVariables(rig, database, connectionString))
      await exported.said(/^the group assigns partitions$/)
      const pid = exported.child.pid!
      const [cpuS, startedMs, startedBytes] = [readTreeCpuS(pid), performance.now(), readPeakRssBytes(pid) ?? NaN]
      await until(async () => await isExported(rig, query), 'all is written', 600_000)
      const [tookS, usedS] = [(performance.now() - startedMs) / 1000, (readTreeCpuS(pid) ?? NaN) - (cpuS ?? NaN)]
      t.comment(`${Math.round(READINGS / tookS)} readings/s; of the export ${(usedS / READINGS * 1e6).toFixed(1)} CPU s a million readings, ` +
        `${Math.round((readPeakRssBytes(pid) ?? NaN) / 1024 / 1024)} MiB at most, ${Math.round(startedBytes / 1024 / 1024)} MiB at first`)
      await until(async () => await database.count() === READINGS, 'all is found', 120_000)
      t.equal(await database.count(), READINGS)
    })
  }
}
