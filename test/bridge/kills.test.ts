/**
 * Kills either side at random, `BRIDGE_KILLS` times; without this variable nothing is run. A message that the bridge acknowledged to
 * the broker must be stored, once. A message that the broker acknowledged to the device, but never delivered, is only reported.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from 'mqtt'
import t, { type Test } from 'tap'
import { type GatewayProcess, spawnGateway } from '../helpers/gateway-process.ts'
import { NO_HIVEMQ, startHivemq } from '../helpers/hivemq.ts'
import { NO_MOSQUITTO, startMosquitto } from '../helpers/mosquitto.ts'
import { createTestDatabase, createTestDir } from '../helpers/postgres.ts'
import { createRandom } from '../helpers/random.ts'
import { until } from '../helpers/until.ts'
import { startRecordingProxy } from './recording-proxy.ts'
import { toReading } from './rig.ts'

const { BRIDGE_KILLS = '0', SEED = String(Date.now() % 2 ** 31) } = process.env
const KILLS = Number(BRIDGE_KILLS)
const NOT_ASKED = KILLS === 0 && 'BRIDGE_KILLS says how often either side is killed'
/** Between two kills at most, and between two messages. */
const STRIKE_MS_MAX = 1500
const MESSAGE_MS = 4

t.setTimeout(1_800_000)

interface Broker {
  readonly port: number
  start (): Promise<void>
  kill (): Promise<void>
}

/** Publishes one reading after the other at QoS 1, again and again until it is acknowledged. */
function startDevice (t: Test, port: number) {
  const acknowledged = new Set<string>()
  const client = connect(`mqtt://127.0.0.1:${port}`, { protocolVersion: 5, clientId: 'device', clean: false, reconnectPeriod: 20 })
  client.on('error', () => {})
  t.teardown(() => client.endAsync(true))
  let count = 0
  let due = 0
  const timer = setInterval(() => {
    if (due > 500) return
    const payload = toReading(1_750_000_000 + count, { heartRateValue: 60 + count % 40 })
    due++
    client.publish(`vital/d${count++ % 20}`, payload, { qos: 1 }, (error) => {
      due--
      if (error === undefined || error === null) acknowledged.add(payload)
    })
  }, MESSAGE_MS)
  return {
    acknowledged,
    async stop (): Promise<void> {
      clearInterval(timer)
      await until(() => due === 0, 'the broker has acknowledged all')
    }
  }
}

async function strike (t: Test, broker: Broker): Promise<void> {
  const random = createRandom(Number(SEED))
  const { connectionString, query } = await createTestDatabase(t)
  const proxy = await startRecordingProxy(t, broker.port)
  const variables = { DATABASE_URL: connectionString, VITAL_BRIDGE_URL: proxy.url, VITAL_DATA_DIR: await createTestDir(t) }
  const startBridge = () => spawnGateway(t, variables, { program: 'scripts/vital-gateway.ts', args: ['bridge'] })
  let bridge: GatewayProcess = await startBridge()
  await bridge.said(/^ready$/)
  const device = startDevice(t, broker.port)
  const struck = { bridge: 0, broker: 0 }
  for (let kill = 0; kill < KILLS; kill++) {
    await sleep(random() * STRIKE_MS_MAX)
    if (random() < 0.5) {
      struck.bridge++
      bridge.child.kill('SIGKILL')
      await bridge.exited
      bridge = await startBridge()
      if (random() < 0.8) await bridge.said(/^subscribed$/)
    } else {
      struck.broker++
      await broker.kill()
      await broker.start()
    }
  }
  await device.stop()
  await bridge.said(/^subscribed$/)
  let before = -1
  await until(async () => {
    const now = proxy.acknowledged.size
    const isSettled = now === before
    before = now
    await sleep(3000)
    return isSettled
  }, 'the broker to deliver all messages', 120_000)
  bridge.child.kill('SIGTERM')
  await bridge.exited
  const rows = await query<{ timestamp: number, heart: number }>(
    'select extract(epoch from time)::float8 as timestamp, (vitals->>\'heartRateValue\')::int as heart from readings')
  const stored = new Set(rows.map(({ timestamp, heart }) => toReading(timestamp, { heartRateValue: heart })))
  const lostHere = [...proxy.acknowledged].filter((payload) => !stored.has(payload))
  const lostThere = [...device.acknowledged].filter((payload) => !stored.has(payload))
  t.comment(`SEED=${SEED}: ${struck.bridge} kills of the bridge, ${struck.broker} of the broker; ${device.acknowledged.size} messages ` +
    `acknowledged to the device, ${proxy.acknowledged.size} by the bridge, ${stored.size} stored; ${lostThere.length} never arrived`)
  t.same(lostHere, [], 'each message that the bridge acknowledged is stored')
  t.equal(rows.length, stored.size, 'each once')
}

t.test('Mosquitto, which saves after each change', { skip: NOT_ASKED || NO_MOSQUITTO, timeout: 1_800_000 }, async (t) => {
  await strike(t, await startMosquitto(t, ['allow_anonymous true', 'autosave_on_changes true', 'autosave_interval 1']))
})

t.test('HiveMQ CE with a queue of a million', { skip: NOT_ASKED || NO_HIVEMQ, timeout: 1_800_000 }, async (t) => {
  await strike(t, await startHivemq(t, '<queued-messages><max-queue-size>1000000</max-queue-size></queued-messages>'))
})
