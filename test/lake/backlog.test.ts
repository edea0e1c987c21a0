/**
 * A backlog into a lake, of one hour and of many. Prints the CPU and memory that it took:
 * `VITAL_TEST_LAKE_BACKLOG=1000000 VITAL_TEST_LAKE_HOURS=168 npm test -- --reporter=tap --timeout=900 test/lake/backlog.test.ts`
 */
import t from 'tap'
import { measure, toBacklog } from '../helpers/backlog.ts'
import { isOnKafkaNode } from '../helpers/kafka.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { NO_STORE } from '../helpers/seaweedfs.ts'
import { createSinkRig } from '../sink/rig.ts'
import { createLakeRig, isWritten, spawnLake, toVariables } from './rig.ts'

const READINGS = Number(process.env['VITAL_TEST_LAKE_BACKLOG'] ?? 20_000)
const HOURS = [0, Number(process.env['VITAL_TEST_LAKE_HOURS'] ?? 6)]

if (NO_STORE !== false) t.pass(`left out: ${NO_STORE}`, { skip: NO_STORE })
else if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)
  const { createPlace } = await createLakeRig(t)
  for (const hours of HOURS) {
    t.test(`${READINGS} readings of ${hours === 0 ? 'an hour' : `${hours} hours`}`, { timeout: 600_000 }, async (t) => {
      await rig.makeAnew(12)
      for (const rows of toBacklog(READINGS, hours)) await rig.writeReadings(rows)
      const place = await createPlace(t)
      const { connectionString, query } = await createTestDatabase(t)
      const lake = await spawnLake(t, toVariables(rig, place, connectionString))
      await lake.said(/^the group assigns partitions$/)
      await measure(t, { pid: lake.child.pid!, readings: READINGS, isDone: async () => await isWritten(rig, query), timeoutMs: 600_000 })
      t.same(await place.read(`select count(*)::int, count(distinct id)::int, count(distinct (day, hour)) >= ${hours} from lake`),
        [[READINGS, READINGS, true]])
    })
  }
}
