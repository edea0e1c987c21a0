/** `vital-gateway lake compact` while a lake writes, both killed at random. */
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { exactly } from '../helpers/exactly.ts'
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

  t.test(`kill -9 ${KILLS} times: each reading is in the files once`, { timeout: 120_000 + Number(KILLS) * 20_000 }, async (t) => {
    t.comment(`seed ${SEED}`)
    const random = createRandom(Number(SEED))
    await rig.makeAnew(2)
    const place = await createPlace(t)
    const { connectionString, query } = await createTestDatabase(t)
    const variables = toVariables(rig, place, connectionString)
    const compact = async () => await spawnLake(t, variables, ['compact', '--before', '2026-01-01', '--longest-query', '0'])
    /** A run that has begun to join files; a run before there are several of one hour joins none. */
    const joining = async () => {
      for (;;) {
        const command = await compact()
        if (await command.said(/ are one of /).then(() => true, () => false)) return command
        await sleep(500)
      }
    }
    let written = 0
    const writer = new AbortController()
    const writing = (async () => {
      while (!writer.signal.aborted) {
        await rig.writeReadings(Array.from({ length: 40 }, (_, n) =>
          toRow(`d${n}`, 1_750_240_000 + (n % 3) * 3600 + written, { heartRateValue: n })))
        written += 40
        await sleep(200)
      }
    })()
    let lake = await spawnLake(t, variables)
    await lake.said(/^written to the lake$/)
    for (let kill = 0; kill < Number(KILLS); kill++) {
      const command = await joining()
      await sleep(random() * 300)
      command.child.kill('SIGKILL')
      await command.exited
      if (kill % 2 === 1) continue
      lake.child.kill('SIGKILL')
      await lake.exited
      lake = await spawnLake(t, variables)
    }
    writer.abort()
    await writing
    await until(async () => await isWritten(rig, query), 'all readings to be written', 90_000)
    const last = await compact()
    t.same(await last.exited, [0, null], last.stderr())
    t.match(last.lines.at(-1), { msg: /^\d+ files became \d+; \d+ were emptied, 0 empty files removed, \d+ stay for a day$/ })
    t.same(await place.read('select count(*)::int, count(distinct id)::int from lake'), [[written, written]])
    t.match(
      await place.read('select max(files)::int from (select count(distinct filename) as files from lake group by hour)'), exactly([2]),
      'one file of each partition has readings')
    t.comment(`${written} readings, ${String((await place.read('select count(distinct filename)::int from lake'))[0])} files`)
  })
}
