/** A broker whose log is truncated as by a power failure: an export goes back, as a sink does. */
import t from 'tap'
import { READINGS_TOPIC } from '../../src/kafka/records.ts'
import { exactly } from '../helpers/exactly.ts'
import { isOnKafkaNode } from '../helpers/kafka.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { amid, failPower } from '../helpers/power-failure.ts'
import { NO_INFLUXDB, startInfluxDb } from '../helpers/time-series.ts'
import { until } from '../helpers/until.ts'
import { createSinkRig, toRows } from '../sink/rig.ts'
import { startExport, toVariables } from './rig.ts'

if (NO_INFLUXDB !== false) t.pass(`left out: ${NO_INFLUXDB}`, { skip: NO_INFLUXDB })
else if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)

  t.test('an export that was away while the log was truncated, and grew past its position again', async (t) => {
    await rig.makeAnew(1)
    const influx = await startInfluxDb(t)
    const { connectionString } = await createTestDatabase(t)
    const variables = toVariables(rig, influx, connectionString)
    const exported = await startExport(t, variables)
    for (let at = 0; at < 5; at++) await rig.writeReadings(toRows(100, { from: at * 100 }))
    await until(async () => await influx.count() === 500)
    await until(async () => await exported.metric('vital_export_lag_records') === 0)
    await exported.service.stop()
    await failPower(rig.kafka, { topic: READINGS_TOPIC }, amid(350))
    for (let at = 0; at < 4; at++) {
      const rows = toRows(100, { from: 1000 + at * 100 })
      await until(() => rig.writeReadings(rows).then(() => true, () => false), 'readings to be written')
    }
    t.same(await rig.ends(), [700])
    const next = await startExport(t, variables)
    await until(async () => await influx.count() === 900)
    await until(async () => await next.metric('vital_export_lag_records') === 0)
    t.equal(await next.metric('vital_export_truncations_total'), 1)
    t.match(await next.warnings(), exactly(/brokers lost acknowledged records of partition 0 of vital\.readings, from offset 300 on/))
  })
}
