/** A lake, an export and a bridge, scraped with the files that compose mounts, and each query of their dashboard. */
import t from 'tap'
import { startExport, toVariables as toExportVariables } from '../../export/rig.ts'
import { connectDevice, startBridge, toReading } from '../../bridge/rig.ts'
import { isOnKafkaNode } from '../../helpers/kafka.ts'
import { NO_MOSQUITTO, startMosquitto } from '../../helpers/mosquitto.ts'
import { createTestDatabase, createTestDir } from '../../helpers/postgres.ts'
import { NO_PROMETHEUS, startPrometheus } from '../../helpers/prometheus.ts'
import { NO_STORE } from '../../helpers/seaweedfs.ts'
import { NO_VICTORIAMETRICS, startVictoriaMetrics } from '../../helpers/time-series.ts'
import { until } from '../../helpers/until.ts'
import { createLakeRig, isWritten, startLake, toVariables } from '../../lake/rig.ts'
import { createSinkRig, toRows } from '../../sink/rig.ts'
import { queriesOf, streams } from './dashboards.ts'
import { copyPrometheusFiles } from './prometheus-files.ts'

const MISSING = [NO_PROMETHEUS, NO_STORE, NO_VICTORIAMETRICS, NO_MOSQUITTO].find((missing) => missing !== false) ?? false

if (MISSING !== false) t.pass(`left out: ${MISSING}`, { skip: MISSING })
else if (await isOnKafkaNode(t, import.meta.filename)) {
  t.test('each query of a panel has an answer', { timeout: 110_000 }, async (t) => {
    const rig = await createSinkRig(t)
    const { createPlace } = await createLakeRig(t)
    await rig.makeAnew(2)
    const { connectionString, query } = await createTestDatabase(t)
    const mosquitto = await startMosquitto(t)
    const lake = await startLake(t, toVariables(rig, await createPlace(t), connectionString))
    const exporting = await startExport(t, toExportVariables(rig, await startVictoriaMetrics(t), connectionString))
    const bridge = await startBridge(t, { DATABASE_URL: connectionString, VITAL_BRIDGE_URL: mosquitto.url })
    const prometheus = await startPrometheus(t, await copyPrometheusFiles(await createTestDir(t), {
      secret: 'none',
      name: 'several.yml',
      streams: [lake.url, exporting.url, bridge.url].map((url) => new URL(url).host),
      targets: { 'scrape_interval: 5s': 'scrape_interval: 1s', 'scrape_timeout: 4s': 'scrape_timeout: 1s' }
    }))
    await until(() => bridge.isReady())
    const device = await connectDevice(t, mosquitto.url)
    await Promise.all([toReading(1_750_240_000), '{'].map((payload) => device.publishAsync('vital/bed-1', payload, { qos: 1 })))
    await rig.writeReadings(toRows(60))
    await until(async () => await isWritten(rig, query) && await isWritten(rig, query, 'vital-export'))
    const scraped = 'count(count_over_time(up{job="vital-streams"}[1m]) >= 5) == 3'
    await until(async () => (await prometheus.query(scraped)).length === 1, 'Prometheus to scrape all three')
    const queries = queriesOf('expr', streams)
    for (const { title, query: expr } of queries) {
      t.ok((await prometheus.query(expr.replaceAll('$__rate_interval', '10s'))).length > 0, `${title}: ${expr}`)
    }
    const stat = async (wanted: string) =>
      (await prometheus.query(queries.find(({ title }) => title === wanted)!.query)).map(({ value }) => value)
    t.strictSame(await Promise.all(['Lake', 'Export', 'Bridge'].map(stat)), [[1], [1], [1]])
    t.strictSame(await Promise.all(['Lake: records that wait', 'Export: records that wait', 'Bridge: held'].map(stat)), [[0], [0], [0]])
    const refused = 'sum(vital_readings_dead_lettered_total and on (job, instance) vital_bridge_subscribed)'
    t.strictSame((await prometheus.query(refused)).map(({ value }) => value), [1], 'an invalid payload is a dead letter of the bridge')
    t.strictSame((await prometheus.query('sum(vital_lake_readings_total)')).map(({ value }) => value), [60])
  })
}
