import t from 'tap'
import { exactly } from '../helpers/exactly.ts'
import { startGateway } from '../helpers/gateway.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { openHostile, publishOf, startWellBehaved } from '../helpers/well-behaved.ts'
import { until } from '../helpers/until.ts'

const READINGS = 16
const NAMES_EACH = 900
const START_S = 1_750_000_000

interface Latest { names: number, vitals: Record<string, unknown>, times: Record<string, number> }

t.test('the latest state of a device that invents field names is bounded, and so are its batches', { timeout: 60_000 }, async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const gateway = await startGateway(t, { DATABASE_URL: connectionString })
  const good = await startWellBehaved(t, gateway)
  const { socket, seen } = await openHostile(t, gateway.mqttPort, 'inventor')
  let sent = 0
  const send = async (fields: Record<string, unknown>) => {
    socket.write(publishOf('vital/inventor', JSON.stringify({ timestamp: START_S + sent, ...fields }), ++sent))
    await until(() => seen.pubacks === sent, 'the acknowledgement')
  }
  const readLatest = async () => {
    const [row] = await query<Latest>('select vitals, vital_times as times, (select count(*)::int from jsonb_object_keys(vitals)) as ' +
      'names from latest where device = $1', ['inventor'])
    return row!
  }

  for (let made = 0; made < READINGS; made++) {
    await send({
      heartRateValue: made, ...Object.fromEntries(Array.from({ length: NAMES_EACH }, (_, index) => [`invented-${made}-${index}`, index]))
    })
  }
  // Late: it was measured before all others, and none of its fields may win.
  await send({ timestamp: START_S - 1, heartRateValue: 999, [`invented-${READINGS - 1}-0`]: 'late' })
  const { names, vitals, times } = await readLatest()
  t.ok(names < READINGS * NAMES_EACH / 2, `${names} names are kept of ${READINGS * NAMES_EACH}`)
  t.equal(vitals['heartRateValue'], READINGS - 1)
  t.equal(times['heartRateValue'], START_S + READINGS - 1)
  for (let index = 0; index < NAMES_EACH; index++) {
    if (vitals[`invented-${READINGS - 1}-${index}`] !== index) t.fail(`field ${index} of the newest reading is missing or differs`)
  }
  t.strictSame(Object.keys(vitals).sort(), Object.keys(times).sort())
  t.match(await query('select count(*)::int from readings where device = $1', ['inventor']), exactly({ count: READINGS + 1 }),
    'all its readings are stored')

  // Values count as much as names.
  for (let made = 0; made < 6; made++) {
    await send({
      [`blob-${made}`]: Buffer.from(Array.from({ length: 60_000 },
        () => Math.random() * 256)).toString('base64')
    })
  }
  const blobs = Object.keys((await readLatest()).vitals).filter((name) => name.startsWith('blob-'))
  t.strictSame(blobs, ['blob-5'], 'the newest, however large')
  t.ok(await good.end() > 0)
})
