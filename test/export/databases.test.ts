/** The same readings into each database: ids come back, averages are equal, readings sent twice count once. */
import t, { type Test } from 'tap'
import type { ReadingRow } from '../../db/rows.ts'
import { isOnKafkaNode } from '../helpers/kafka.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import {
  NO_INFLUXDB, NO_QUESTDB, NO_VICTORIAMETRICS, startInfluxDb, startQuestDb, startVictoriaMetrics, type TimeSeries
} from '../helpers/time-series.ts'
import { until } from '../helpers/until.ts'
import { createSinkRig, toRow } from '../sink/rig.ts'
import { isExported, startExport, toVariables } from './rig.ts'

const ENGINES: ReadonlyArray<[string, string | false, (t: Test) => Promise<TimeSeries>]> = [
  ['InfluxDB', NO_INFLUXDB, startInfluxDb],
  ['VictoriaMetrics', NO_VICTORIAMETRICS, startVictoriaMetrics],
  ['QuestDB', NO_QUESTDB, startQuestDb]
]
const FIRST_S = 1_750_240_800
const IDS = ['a b', 'a,b', 'a=b', 'a\\', '\\', 'a\\,b', '"', '"a"', '\'', '%', '%41', 'ü', '😀', ' ', 'a ', '{}', '123', '-', 'ward:3', '.']

/** Two hours at 1 Hz, without one second in ten, and with times between whole seconds. */
function toRowsOf (device: string): ReadingRow[] {
  return Array.from({ length: 7200 }, (_, n) => n).filter((n) => n % 10 !== 3).map((n) =>
    toRow(device, FIRST_S + n + 0.125, { heartRateValue: 60 + (n * 7919) % 41 / 4, spo2Value: 97 }))
}

function toAverages (rows: readonly ReadingRow[]): Map<number, number> {
  const sums = new Map<number, { sum: number, count: number }>()
  for (const { timeUs, fields } of rows) {
    const startS = Math.floor(timeUs / 3e8) * 300
    const of = sums.get(startS) ?? { sum: 0, count: 0 }
    sums.set(startS, { sum: of.sum + Number(fields['heartRateValue']), count: of.count + 1 })
  }
  return new Map([...sums].map(([startS, { sum, count }]) => [startS, sum / count]))
}

if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)
  for (const [name, missing, start] of ENGINES) {
    t.test(name, { skip: missing, timeout: 120_000 }, async (t) => {
      await rig.makeAnew(3)
      const database = await start(t)
      const { connectionString, query } = await createTestDatabase(t)
      const variables = toVariables(rig, database, connectionString)
      const rows = toRowsOf('ward-3')
      await rig.writeReadings(rows)
      // Sent again, and late.
      await rig.writeReadings(rows.slice(0, 1000))
      await rig.writeReadings(IDS.map((id, n) => toRow(id, FIRST_S + n, { heartRateValue: n })))
      await rig.writeReadings([toRow('case', FIRST_S, { hr: 1, HR: 2 })])
      const first = await startExport(t, variables)
      await until(async () => await isExported(rig, query))
      t.same(await query('select errors from dead_letters'), [])
      t.same(await first.warnings(), [])
      await first.service.stop()
      // All readings once more, as after a crash.
      await query('update sink_offsets set next_offset = 0, epoch = epoch + 1')
      const second = await startExport(t, variables)
      await until(async () => await isExported(rig, query))
      await until(async () => await second.metric('vital_export_unapplied_transactions') === 0)
      await until(async () => await database.count('heartRateValue', 'ward-3') >= rows.length)
      t.equal(await database.count('heartRateValue', 'ward-3'), rows.length)
      t.same(await database.devices(), [...IDS, 'case', 'ward-3'].sort())
      for (const field of name === 'QuestDB' ? ['hr', '_x48__x52_'] : ['hr', 'HR']) t.equal(await database.count(field, 'case'), 1, field)
      const found = await database.averages('ward-3', 'heartRateValue', FIRST_S, FIRST_S + 7200)
      const expected = toAverages(rows)
      t.equal(expected.size, 24)
      t.same([...found.keys()], [...expected.keys()])
      for (const [startS, mean] of expected) t.ok(Math.abs(found.get(startS)! - mean) < 1e-9, `${startS}: ${found.get(startS)}, ${mean}`)
      t.equal(await second.metric('vital_export_ignored_total'), 0)
    })
  }
}
