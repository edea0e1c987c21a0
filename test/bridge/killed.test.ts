import t from 'tap'
import { spawnGateway } from '../helpers/gateway-process.ts'
import { NO_MOSQUITTO, startMosquitto } from '../helpers/mosquitto.ts'
import { createTestDatabase, createTestDir } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'
import { publishAll, startBridge, toMessages } from './rig.ts'

t.test('the bridge is killed during 20,000 messages: each is stored once', { skip: NO_MOSQUITTO }, async (t) => {
  const broker = await startMosquitto(t)
  const { connectionString, query } = await createTestDatabase(t)
  const stored = async () => (await query<{ stored: number }>('select count(*)::int as stored from readings'))[0]!.stored
  const variables = { DATABASE_URL: connectionString, VITAL_BRIDGE_URL: broker.url, VITAL_DATA_DIR: await createTestDir(t) }
  const start = async () => await spawnGateway(t, variables, { program: 'scripts/vital-gateway.ts', args: ['bridge'] })
  const first = await start()
  await first.said(/^ready$/)
  const published = publishAll(broker.port, toMessages(20_000))
  await until(async () => await stored() > 1000)
  first.child.kill('SIGKILL')
  await first.exited
  const atDeath = await stored()
  t.ok(atDeath < 20_000, `${atDeath} were stored when it died`)
  await published
  const second = await start()
  await until(async () => await stored() === 20_000, 'all are stored', 150_000)
  t.same(await query('select count(distinct (device, time))::int as readings from readings'), [{ readings: 20_000 }])
  t.match(await second.said(/^subscribed$/), { resumed: true })
  second.child.kill('SIGTERM')
  t.same(await second.exited, [0, null])
})

t.test('the broker is killed while it delivers: each message on its disk is stored once', { skip: NO_MOSQUITTO }, async (t) => {
  const broker = await startMosquitto(t)
  const { connectionString, query } = await createTestDatabase(t)
  const stored = async () => (await query('select from readings')).length
  const variables = { DATABASE_URL: connectionString, VITAL_BRIDGE_URL: broker.url, VITAL_DATA_DIR: await createTestDir(t) }
  await (await startBridge(t, variables)).bridge.stop()
  await publishAll(broker.port, toMessages(3000))
  await broker.save()
  await broker.kill()
  await broker.start()
  const bridge = await startBridge(t, variables)
  await until(async () => await stored() > 0)
  await broker.kill()
  await until(async () => !await bridge.isReady())
  await broker.start()
  await until(async () => await stored() === 3000 && await bridge.metric('vital_bridge_held_messages') === 0)
  await until(async () => await bridge.metric('vital_readings_pending') === 0)
  t.equal(await stored(), 3000)
  t.equal(await bridge.metric('vital_bridge_sessions_lost_total'), 0)
})
