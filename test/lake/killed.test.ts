/** Two lakes that are killed at random while readings come in: each reading is in the files once. */
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { isOnKafkaNode } from '../helpers/kafka.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { createRandom } from '../helpers/random.ts'
import { NO_STORE } from '../helpers/seaweedfs.ts'
import { until } from '../helpers/until.ts'
import { createSinkRig, toRow } from '../sink/rig.ts'
import { createLakeRig, isWritten, spawnLake, toVariables } from './rig.ts'

const { VITAL_TEST_LAKE_KILLS: KILLS = '3', VITAL_TEST_SEED: SEED = String(Date.now() % 1e6) } = process.env

if (NO_STORE !== false) t.pass(`left out: ${NO_STORE}`, { skip: NO_STORE })
else if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)
  const { createPlace } = await createLakeRig(t)

  t.test(`kill -9 ${KILLS} times`, { timeout: 120_000 + Number(KILLS) * 20_000 }, async (t) => {
    t.comment(`seed ${SEED}`)
    const random = createRandom(Number(SEED))
    await rig.makeAnew(3)
    const place = await createPlace(t)
    const { connectionString, query } = await createTestDatabase(t)
    const start = async () => await spawnLake(t, {
      ...toVariables(rig, place, connectionString),
      VITAL_LAKE_FILE_BYTES: String(1024 * 1024 * (1 + Math.floor(random() * 8))),
      VITAL_LAKE_MAX_AGE_S: String(1 + Math.floor(random() * 2))
    })
    let written = 0
    const writer = new AbortController()
    const writing = (async () => {
      while (!writer.signal.aborted) {
        // Readings of several hours, so that a plan has several files.
        await rig.writeReadings(Array.from({ length: 200 }, (_, n) =>
          toRow(`d${n % 40}`, 1_750_240_000 + (n % 5) * 3600 + written + n, { heartRateValue: n })))
        written += 200
        await sleep(100)
      }
    })()
    const lakes = [await start(), await start()]
    for (let kill = 0; kill < Number(KILLS); kill++) {
      await sleep(1000 + random() * 7000)
      const at = kill % 2
      lakes[at]!.child.kill('SIGKILL')
      await lakes[at]!.exited
      lakes[at] = await start()
    }
    writer.abort()
    await writing
    // The group waits for members that were killed.
    await until(async () => await isWritten(rig, query), 'all readings to be written', 90_000)
    t.same(await place.read('select count(*)::int, count(distinct id)::int, count(distinct device || epoch_us("time"))::int from lake'),
      [[written, written, written]])
    t.comment(`${written} readings, ${String((await place.read('select count(distinct filename)::int from lake'))[0])} files`)
  })
}
