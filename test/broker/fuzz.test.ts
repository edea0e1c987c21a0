import mqttPacket, { type Packet } from 'mqtt-packet'
import t from 'tap'
import { connectPacket, createRandom, durable, hidden, publishPacket, RawClient, startBroker, unavailable } from '../helpers/broker.ts'
import { until } from '../helpers/until.ts'

const CONNECTIONS = 300

t.test('no input ends the process, and a well-behaved client is served throughout', { timeout: 50_000 }, async (t) => {
  const seed = Date.now() % 1_000_000
  t.comment(`seed ${seed}`)
  const random = createRandom(seed)
  const integer = (max: number) => Math.floor(random() * max)
  const verdicts = [durable, durable, durable, hidden, unavailable]
  const { port, broker, ingest, log } = await startBroker(t, { limits: { connectTimeoutMs: 500 } })
  const pump = setInterval(() => {
    ingest.settleAll((publish) => publish.topic === 'vital/good'
      ? durable(publish)
      : verdicts[integer(verdicts.length)]!(publish))
  }, 3)
  t.teardown(() => clearInterval(pump))
  const good = await RawClient.connected(t, port)

  const packets: Packet[] = [
    publishPacket(1), publishPacket(2, { qos: 2 }), publishPacket(0, { qos: 0 }), publishPacket(3, { topic: 'chat/x', retain: true }),
    publishPacket(4, { topic: 'vital/a/b/c', payload: 'x'.repeat(300) }),
    { cmd: 'subscribe', messageId: 5, subscriptions: [{ topic: '#', qos: 2 }, { topic: 'vital/+', qos: 1 }] },
    { cmd: 'unsubscribe', messageId: 6, unsubscriptions: ['#'] }, { cmd: 'pubrel', messageId: 2 }, { cmd: 'puback', messageId: 9 },
    { cmd: 'pubrec', messageId: 9 }, { cmd: 'pubcomp', messageId: 9 }, { cmd: 'pingreq' }, { cmd: 'disconnect' }
  ]
  const encoded = packets.map((packet) => mqttPacket.generate(packet))
  const connects = [connectPacket(), connectPacket({
    clientId: 'shared', clean: false
  }), connectPacket({ will: { topic: 'vital/w', payload: Buffer.from('w'), qos: 2, retain: true } })]

  function hostileStream (): Buffer {
    const noise = Buffer.from(Array.from({ length: 1 + integer(60) }, () => integer(256)))
    if (random() < 0.15) return noise
    const parts = [mqttPacket.generate(connects[integer(connects.length)]!)]
    for (let count = integer(12); count > 0; count--) parts.push(random() < 0.1 ? noise : Buffer.from(encoded[integer(encoded.length)]!))
    const stream = Buffer.concat(parts)
    for (let flips = random() < 0.7 ? integer(6) : 0; flips > 0; flips--) stream[integer(stream.length)] = integer(256)
    return random() < 0.2 ? stream.subarray(0, integer(stream.length)) : stream
  }

  for (let round = 0; round < CONNECTIONS; round++) {
    const client = await RawClient.open(t, port)
    const stream = hostileStream()
    const cut = integer(stream.length)
    client.socket.write(stream.subarray(0, cut))
    if (random() < 0.5) await new Promise((resolve) => { setImmediate(resolve) })
    client.socket.write(stream.subarray(cut))
    const fate = random()
    if (fate < 0.3) client.socket.end()
    else if (fate < 0.5) client.socket.resetAndDestroy()
    else setTimeout(() => client.socket.destroy(), integer(50))
    if (random() < 0.1) broker.pauseReading()
    else if (random() < 0.5) broker.resumeReading()
    if (round % 20 === 0) {
      broker.resumeReading()
      good.send(publishPacket(round + 1, { topic: 'vital/good' }))
      await good.waitFor('puback', round / 20 + 1)
    }
  }
  broker.resumeReading()
  await until(() => broker.statistics().connections === 1, 'all to be over')
  t.notOk(good.isClosed)
  t.strictSame(log.filter(({ msg }) => msg === 'broker error'), [])
  t.match(broker.statistics(), { clientsConnected: 1, subscriptions: 0 })
  good.send(publishPacket(CONNECTIONS, { topic: 'vital/good' }))
  await good.waitFor('puback', CONNECTIONS / 20 + 1)
})
