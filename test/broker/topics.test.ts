import t from 'tap'
import { deviceOf, isBridgeState, isIngested, namedDeviceOf, rejectedDeviceOf } from '../../broker/topics.ts'
import { connectClient, readLedger, startGateway } from '../helpers/gateway.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { connectPacket, durable, publishPacket, RawClient, settleDown, startBroker } from '../helpers/broker.ts'
import { authenticateByName, login, NOT_SLOWED } from '../helpers/principals.ts'
import { until } from '../helpers/until.ts'

const NEAR_MISSES = [
  '/vital/ward-3', '//vital/ward-3', 'Vital/ward-3', 'VITAL/ward-3', ' vital/ward-3', 'vital /ward-3',
  'vitals/ward-3', '/Vitals/ward-3', 'vItAl/ward-3', '\ufeffvital/ward-3',
  'vitals/ward-3/hr'
]
const RELAYED = [
  'vital', 'vitals', 'vitality/ward-3', 'home/vital/ward-3', 'vital-signs/ward-3', 'chat/a', '$other/vital/a', 'evital/ward-3'
]

t.test('topics: ingested, near miss, bridge state, device', (t) => {
  for (const topic of NEAR_MISSES) t.strictSame([isIngested(topic), deviceOf(topic), namedDeviceOf(topic)], [true, null, 'ward-3'], topic)
  for (const topic of RELAYED) t.strictSame([isIngested(topic), deviceOf(topic), namedDeviceOf(topic)], [false, null, null], topic)
  t.strictSame(['vital/ward-3/hr', 'vital/ward-3', '/vital/ward-3', 'vital/rejected'].map(rejectedDeviceOf),
    ['ward-3', 'ward-3', 'ward-3', 'rejected'])
  t.strictSame([
    'vital/ward-3/rejected', 'Vital/ward-3/rejected/x', 'vital//hr', 'vital/__proto__/hr', 'vital/a$b/hr', 'chat/a'
  ].map(rejectedDeviceOf), Array(6).fill(null))
  t.ok(isBridgeState('$SYS/broker/connection/ward.hospital/state'))
  for (const topic of [
    '$SYS/broker/connection/state', '$SYS/broker/uptime', '$SYS/broker/connection/a', 'broker/connection/a/state'
  ]) t.notOk(isBridgeState(topic), topic)
  t.end()
})

t.test('near misses of vital/{device} become dead letters of that device and are announced to it; relayed ones are counted', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const { mqttPort, httpUrl } = await startGateway(t, { DATABASE_URL: connectionString })
  const operator = await connectClient(t, mqttPort)
  const seen: string[] = []
  operator.on('message', (topic) => { seen.push(topic) })
  await operator.subscribeAsync('#', { qos: 1 })
  const device = await connectClient(t, mqttPort, { clientId: 'ward-3' })
  const topics = [...NEAR_MISSES, 'vital/ward-3/hr', 'vital/ward-3/rejected', 'vital/__proto__/hr']
  for (const topic of topics) await device.publishAsync(topic, '{"timestamp":1}', { qos: 1, retain: true })
  for (const topic of RELAYED) await device.publishAsync(topic, '{"timestamp":1}', { qos: 1 })
  // `#` does not match a topic that begins with a dollar [MQTT-4.7.2-1].
  const delivered = RELAYED.filter((topic) => !topic.startsWith('$'))
  await until(() => seen.length >= NEAR_MISSES.length + 1 + delivered.length, 'all messages')
  await settleDown()
  const letters = await query<{
    topic: string
    device: string | null
  }>('select topic, device from dead_letters where reason = \'invalid_topic\'')
  t.strictSame(letters.map(({ topic, device }) => `${topic} ${device}`).sort(),
    topics.map((topic) => `${topic} ${topic.includes('proto') ? null : 'ward-3'}`).sort())
  t.strictSame(seen.filter((topic) => topic.startsWith('vital/')), Array(NEAR_MISSES.length + 1).fill('vital/ward-3/rejected'))
  t.strictSame(seen.filter((topic) => !topic.startsWith('vital/')), delivered, 'no near miss is fanned out')
  t.match(await readLedger(httpUrl), { received: topics.length, deadLettered: topics.length, balance: 0 })
  t.match(await (await fetch(`${httpUrl}/metrics`)).text(), new RegExp(`^vital_mqtt_publishes_relayed_total ${RELAYED.length}$`, 'm'))
  const late = await connectClient(t, mqttPort)
  const retained: string[] = []
  late.on('message', (topic) => { retained.push(topic) })
  await late.subscribeAsync('#', { qos: 1 })
  await settleDown()
  t.strictSame(retained, [], 'nor retained')
})

t.test('a device is closed for a topic that is not its own, near misses included', async (t) => {
  const { port, ingest } = await startBroker(t, { limits: NOT_SLOWED, authenticate: authenticateByName, answer: durable })
  for (const topic of ['/vital/other', 'vital/other/hr', 'vital/band/hr', '/vital/band']) {
    const device = await RawClient.connected(t, port, login('band'))
    device.send(publishPacket(1, { topic: 'vital/band' }), publishPacket(2, { topic }))
    await device.closed()
    t.strictSame(device.ids('puback'), [1], topic)
  }
  t.equal(ingest.seen.length, 4)
})

const STATE = '$SYS/broker/connection/ward.hospital/state'

t.test('a Mosquitto bridge with its default notifications connects; its notification is dropped and logged once', async (t) => {
  for (const isWhole of [true, false]) {
    const { port, broker, log } = await startBroker(t, { answer: durable })
    const watcher = await RawClient.connected(t, port)
    await watcher.subscribe({ '$SYS/#': 1, '#': 1 })
    for (let times = 0; times < 3; times++) {
      const bridge = await RawClient.open(t, port)
      const connect = {
        ...connectPacket({
          clientId: 'ward.hospital', will: { topic: STATE, payload: Buffer.from('0'), qos: 1, retain: true }
        })
      }
      if (isWhole) bridge.send(connect)
      else await bridge.sendInPieces(connect)
      await bridge.waitFor('connack')
      t.equal(bridge.of('connack')[0]!.returnCode, 0)
      bridge.send(publishPacket(1, { topic: STATE, payload: '1', retain: true }), publishPacket(2, { topic: 'vital/band-1' }))
      await bridge.waitFor('puback', 2)
      bridge.socket.destroy()
      await until(() => broker.statistics().clientsConnected === 1, 'it to go')
    }
    await settleDown()
    t.strictSame(watcher.messages().filter((message) => message.startsWith(STATE)), [])
    t.equal(log.filter(({ msg }) => /bridge/.test(String(msg))).length, 1)
  }
})

t.test('a publish on $SYS/ closes the connection once those before it are acknowledged', async (t) => {
  const { port } = await startBroker(t, { answer: durable })
  for (const topic of ['$SYS/broker/uptime', '$SYS/x', '$SYS/broker/connection/a', '$SYS/broker/connection/state']) {
    const client = await RawClient.connected(t, port)
    client.send(publishPacket(1), publishPacket(2, { topic }), publishPacket(3))
    await client.closed()
    t.strictSame(client.ids('puback'), [1], topic)
    const will = await RawClient.open(t, port)
    t.equal((await will.connect({ will: { topic, payload: Buffer.from('x'), qos: 0, retain: false } })).returnCode, 5, topic)
  }
})
