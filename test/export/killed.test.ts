/** Two exports that are killed at random while readings come in: each reading is in the database once. */
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { isOnKafkaNode } from '../helpers/kafka.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { createRandom } from '../helpers/random.ts'
import { NO_INFLUXDB, startInfluxDb } from '../helpers/time-series.ts'
import { until } from '../helpers/until.ts'
import { createSinkRig, toRow, toRows } from '../sink/rig.ts'
import { isExported, spawnExport, toVariables } from './rig.ts'

const { VITAL_TEST_EXPORT_KILLS: KILLS = '3', VITAL_TEST_SEED: SEED = String(Date.now() % 1e6) } = process.env

if (NO_INFLUXDB !== false) t.pass(`left out: ${NO_INFLUXDB}`, { skip: NO_INFLUXDB })
else if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)

  t.test(`kill -9 ${KILLS} times`, { timeout: 120_000 + Number(KILLS) * 20_000 }, async (t) => {
    t.comment(`seed ${SEED}`)
    const random = createRandom(Number(SEED))
    await rig.makeAnew(3)
    const influx = await startInfluxDb(t)
    const { connectionString, query } = await createTestDatabase(t)
    const start = async () => await spawnExport(t, {
      ...toVariables(rig, influx, connectionString), VITAL_EXPORT_BATCH_READINGS_MAX: String(1 + Math.floor(random() * 500))
    })
    let written = 0
    const writer = new AbortController()
    const writing = (async () => {
      while (!writer.signal.aborted) {
        await rig.writeReadings(Array.from({ length: 200 }, (_, n) =>
          toRow(`d${n % 40}`, 1_750_240_000 + written + n, { heartRateValue: n })))
        written += 200
        await sleep(100)
      }
    })()
    const exports = [await start(), await start()]
    for (let kill = 0; kill < Number(KILLS); kill++) {
      await sleep(1000 + random() * 7000)
      const at = kill % 2
      exports[at]!.child.kill('SIGKILL')
      await exports[at]!.exited
      exports[at] = await start()
    }
    writer.abort()
    await writing
    // The group waits for members that were killed.
    await until(async () => await isExported(rig, query), 'all readings to be written', 90_000)
    t.equal(await influx.count(), written)
    t.comment(`${written} readings`)
  })

  t.test('SIGTERM: exit 0, also while the database does not answer, and the next one goes on', { timeout: 120_000 }, async (t) => {
    await rig.makeAnew(3)
    const influx = await startInfluxDb(t)
    const { connectionString, query } = await createTestDatabase(t)
    const start = () => spawnExport(t, toVariables(rig, influx, connectionString))
    const first = await start()
    await rig.writeReadings(toRows(1000))
    await until(async () => await isExported(rig, query))
    await rig.writeReadings(toRows(1000, { from: 1000 }))
    first.child.kill('SIGTERM')
    t.same(await first.exited, [0, null])
    const second = await start()
    await until(async () => await isExported(rig, query))
    influx.freeze()
    await rig.writeReadings(toRows(1000, { from: 2000 }))
    const { port } = await second.said(/^listening$/)
    const readMetrics = async () => await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
    const isHeld = async () => /^vital_export_buffer_bytes\{.*\} [1-9]/m.test(await readMetrics())
    await until(isHeld, 'the export to hold readings that the database does not take')
    second.child.kill('SIGTERM')
    t.same(await second.exited, [0, null])
    influx.thaw()
    await start()
    await until(async () => await isExported(rig, query))
    t.equal(await influx.count(), 3000)
  })
}
