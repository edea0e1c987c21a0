/**
 * A backlog into each database. Prints the CPU and memory that it took:
 * `VITAL_TEST_EXPORT_BACKLOG=1000000 npm test -- --reporter=tap --timeout=900 test/export/backlog.test.ts`
 */
import t, { type Test } from 'tap'
import { measure, toBacklog } from '../helpers/backlog.ts'
import { isOnKafkaNode } from '../helpers/kafka.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import {
  NO_INFLUXDB, NO_QUESTDB, NO_VICTORIAMETRICS, startInfluxDb, startQuestDb, startVictoriaMetrics, type TimeSeries
} from '../helpers/time-series.ts'
import { until } from '../helpers/until.ts'
import { createSinkRig } from '../sink/rig.ts'
import { isExported, spawnExport, toVariables } from './rig.ts'

const READINGS = Number(process.env['VITAL_TEST_EXPORT_BACKLOG'] ?? 20_000)
const ENGINES: ReadonlyArray<[string, string | false, (t: Test) => Promise<TimeSeries>]> = [
  ['InfluxDB', NO_INFLUXDB, startInfluxDb],
  ['VictoriaMetrics', NO_VICTORIAMETRICS, startVictoriaMetrics],
  ['QuestDB', NO_QUESTDB, startQuestDb]
]

if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)
  await rig.makeAnew(12)
  for (const rows of toBacklog(READINGS)) await rig.writeReadings(rows)
  for (const [name, missing, start] of ENGINES) {
    t.test(`${READINGS} readings into ${name}`, { skip: missing, timeout: 600_000 }, async (t) => {
      const database = await start(t)
      const { connectionString, query } = await createTestDatabase(t)
      const exported = await spawnExport(t, toVariables(rig, database, connectionString))
      await exported.said(/^the group assigns partitions$/)
      await measure(t, {
        pid: exported.child.pid!, readings: READINGS, isDone: async () => await isExported(rig, query), timeoutMs: 600_000
      })
      await until(async () => await database.count() === READINGS, 'all readings to be found', 120_000)
      t.equal(await database.count(), READINGS)
    })
  }
}
