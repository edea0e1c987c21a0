/**
 * A backlog of an external broker into PostgreSQL. Prints the CPU and memory that it took:
 * `VITAL_TEST_BRIDGE_BACKLOG=500000 npm test -- --reporter=tap --timeout=900 test/bridge/backlog.test.ts`
 */
import t from 'tap'
import { readV8Flags } from '../../scripts/harness/v8-flags.ts'
import { measure } from '../helpers/backlog.ts'
import { spawnGateway } from '../helpers/gateway-process.ts'
import { NO_MOSQUITTO, startMosquitto } from '../helpers/mosquitto.ts'
import { createTestDatabase, createTestDir } from '../helpers/postgres.ts'
import { publishAll, toReading } from './rig.ts'

const READINGS = Number(process.env['VITAL_TEST_BRIDGE_BACKLOG'] ?? 10_000)
const DEVICES = 1000
/** Packet ids end at 65,535. */
const PUBLISHED_AT_ONCE = 50_000

t.test(`${READINGS} readings of a session that was away`, { skip: NO_MOSQUITTO, timeout: 600_000 }, async (t) => {
  const broker = await startMosquitto(t)
  const { connectionString, query } = await createTestDatabase(t)
  const variables = { DATABASE_URL: connectionString, VITAL_BRIDGE_URL: broker.url, VITAL_DATA_DIR: await createTestDir(t) }
  const start = () => spawnGateway(t, variables, { program: 'scripts/vital-gateway.ts', args: ['bridge'], flags: readV8Flags() })
  const first = await start()
  await first.said(/^subscribed$/)
  first.child.kill('SIGTERM')
  t.same(await first.exited, [0, null])
  for (let from = 0; from < READINGS; from += PUBLISHED_AT_ONCE) {
    await publishAll(broker.port, Array.from({ length: Math.min(PUBLISHED_AT_ONCE, READINGS - from) }, (_, n) => {
      const fields = { heartRateValue: 60 + n % 40 / 4, spo2Value: 97, breathRateValue: 12 + n % 9 }
      return { topic: `vital/device-${n % DEVICES}`, payload: toReading(1_750_000_000 + from + n, fields) }
    }))
  }
  const count = async () => (await query<{ stored: number }>('select count(*)::int as stored from readings'))[0]!.stored
  const second = await start()
  await second.said(/^ready$/)
  await measure(t, { pid: second.child.pid!, readings: READINGS, isDone: async () => await count() === READINGS, timeoutMs: 600_000 })
  t.match(await second.said(/^subscribed$/), { resumed: true })
})
