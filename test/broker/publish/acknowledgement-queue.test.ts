import t from 'tap'
import {
  connectClient, createRandom, durable, hidden, publishPacket, RawClient, settleDown, shuffled, startBroker, unavailable
} from '../../helpers/broker.ts'
import { exactly } from '../../helpers/exactly.ts'
import { until } from '../../helpers/until.ts'

t.test('PUBACK waits for the verdict', async (t) => {
  const { port, ingest } = await startBroker(t)
  const client = await RawClient.connected(t, port, { clientId: 'device-7' })
  client.send(publishPacket(9))
  await until(() => ingest.held.length === 1, 'the publish')
  t.match(ingest.seen, exactly({ topic: 'vital/band-1', device: 'band-1', clientId: 'device-7', payload: Buffer.from('m9') }))
  await settleDown()
  t.strictSame(client.of('puback'), [], 'nothing is acknowledged before')
  ingest.settleAll()
  await client.waitFor('puback')
  t.strictSame(client.ids('puback'), [9])
})

t.test('acknowledgements leave in the order of the publishes, whatever the order of the verdicts', async (t) => {
  const seed = Date.now() % 1_000_000
  t.comment(`seed ${seed}`)
  const { port, ingest } = await startBroker(t)
  const client = await RawClient.connected(t, port)
  const ids = Array.from({ length: 200 }, (_, index) => index + 1)
  const qosOf = (id: number) => id % 3 === 0 ? 2 : 1
  client.send(...ids.map((id) => publishPacket(id, { qos: qosOf(id), topic: id % 7 === 0 ? 'chat' : 'vital/a', retain: id % 5 === 0 })))
  const vital = ids.filter((id) => id % 7 !== 0)
  await until(() => ingest.held.length === vital.length, 'all publishes')
  ingest.settleAll(durable, (held) => shuffled(held, createRandom(seed)))
  await client.waitFor('puback', ids.filter((id) => qosOf(id) === 1).length)
  await client.waitFor('pubrec', ids.filter((id) => qosOf(id) === 2).length)
  t.strictSame(client.ids('puback'), ids.filter((id) => qosOf(id) === 1), 'MQTT-4.6.0-2')
  t.strictSame(client.ids('pubrec'), ids.filter((id) => qosOf(id) === 2), 'MQTT-4.6.0-3')
})

t.test('a relayed publish keeps its place behind held ones', async (t) => {
  const { port, ingest } = await startBroker(t)
  const watcher = await RawClient.connected(t, port)
  await watcher.subscribe({ '#': 1 })
  const client = await RawClient.connected(t, port)
  client.send(publishPacket(1), publishPacket(2, { topic: 'chat' }), publishPacket(3, { topic: 'vital' }), publishPacket(0, {
    topic: 'chat', qos: 0
  }))
  await until(() => ingest.held.length === 1, 'the publish')
  await settleDown()
  t.strictSame(client.packets.length, 1, 'only CONNACK')
  t.strictSame(watcher.messages(), [])
  ingest.settleAll()
  await watcher.waitFor('publish', 4)
  t.strictSame(client.ids('puback'), [1, 2, 3])
  t.strictSame(ingest.seen.length, 1, 'the bare topic vital is relayed')
})

t.test('QoS 0 and 2 with a library client', async (t) => {
  const { port, ingest } = await startBroker(t, { answer: durable })
  const watcher = await connectClient(t, port)
  const messages: string[] = []
  watcher.on('message', (topic, payload) => messages.push(`${topic} ${payload.toString()}`))
  await watcher.subscribeAsync('vital/#', { qos: 2 })
  const client = await connectClient(t, port)
  for (const qos of [0, 1, 2] as const) await client.publishAsync(`vital/q${qos}`, `p${qos}`, { qos })
  await until(() => messages.length === 3, 'messages')
  t.strictSame(messages, ['vital/q0 p0', 'vital/q1 p1', 'vital/q2 p2'])
  t.equal(ingest.seen.length, 3)
})

t.test('a QoS 2 duplicate is ingested again, acknowledged, and fanned out once', async (t) => {
  const { port, ingest } = await startBroker(t)
  const watcher = await RawClient.connected(t, port)
  await watcher.subscribe({ '#': 2 })
  const client = await RawClient.connected(t, port)
  client.send(publishPacket(5, { qos: 2, dup: true }), publishPacket(5, { qos: 2, dup: true }))
  await until(() => ingest.held.length === 2, 'both')
  ingest.settleAll()
  await client.waitFor('pubrec', 2)
  client.send(publishPacket(5, { qos: 2, dup: true }))
  await until(() => ingest.held.length === 1, 'the third')
  ingest.settleAll()
  await client.waitFor('pubrec', 3)
  client.send({ cmd: 'pubrel', messageId: 5 }, { cmd: 'pubrel', messageId: 5 })
  await client.waitFor('pubcomp', 2)
  await settleDown()
  t.strictSame(watcher.messages(), ['vital/band-1 m5'])
  t.equal(watcher.of('publish')[0]!.dup, false, 'MQTT-3.3.1-3')
  client.send(publishPacket(5, { qos: 2, payload: 'a new message under the same id' }))
  await until(() => ingest.held.length === 1, 'the new message')
  ingest.settleAll()
  await watcher.waitFor('publish', 2)
})

t.test('unavailable closes the connection and acknowledges nothing more; earlier acknowledgements still leave', async (t) => {
  const { port, ingest } = await startBroker(t)
  const other = await RawClient.connected(t, port)
  const client = await RawClient.connected(t, port)
  client.send(...[1, 2, 3, 4].map((id) => publishPacket(id)))
  await until(() => ingest.held.length === 4, 'all publishes')
  ingest.settleAll(({ payload, ...publish }) => payload.toString() === 'm3'
    ? unavailable()
    : durable({ payload, ...publish }), (held) => held.reverse())
  await client.closed()
  t.strictSame(client.ids('puback'), [1, 2], 'the publishes before it, and none behind it')
  t.notOk(other.isClosed, 'others stay')
})

t.test('the readings of a client that left before the verdict are still fanned out', async (t) => {
  const { port, ingest, broker, log } = await startBroker(t)
  const watcher = await RawClient.connected(t, port)
  await watcher.subscribe({ '#': 2 })
  const client = await RawClient.connected(t, port)
  client.send(publishPacket(0, { qos: 0 }), publishPacket(1), publishPacket(2, { qos: 2 }), { cmd: 'disconnect' })
  client.socket.end()
  await until(() => ingest.held.length === 3 && broker.statistics().clientsConnected === 1, 'the client to go')
  ingest.settleAll()
  await watcher.waitFor('publish', 3)
  t.strictSame(watcher.messages(), ['vital/band-1 m0', 'vital/band-1 m1', 'vital/band-1 m2'])
  t.notOk(log.some(({ msg }) => msg === 'broker error'))
})

t.test('PUBRECs keep their order when a session resends publishes that were stored behind one that was not', async (t) => {
  const test = await startBroker(t)
  const { port, ingest, broker } = test
  const ids = [1, 2, 3, 4, 5]
  const first = await RawClient.connected(t, port, { clientId: 'band', clean: false })
  first.send(...ids.map((messageId) => publishPacket(messageId, { qos: 2 })))
  await until(() => ingest.held.length === ids.length, 'the publishes')
  first.socket.destroy()
  await until(() => broker.statistics().clientsConnected === 0, 'the client to go')
  ingest.settleAll((publish) => ['m1', 'm4'].includes(publish.payload.toString()) ? unavailable() : durable(publish))
  const second = await RawClient.connected(t, port, { clientId: 'band', clean: false })
  second.send(...ids.map((messageId) => publishPacket(messageId, { qos: 2, dup: true })))
  await until(() => ingest.held.length === ids.length, 'the publishes again')
  ingest.settleAll()
  await second.waitFor('pubrec', ids.length)
  t.strictSame(second.ids('pubrec'), ids, 'MQTT-4.6.0-3')
})

t.test('a QoS 2 message that a session left behind is not fanned out again when it is sent again', async (t) => {
  const { port, ingest, broker } = await startBroker(t)
  const watcher = await RawClient.connected(t, port)
  await watcher.subscribe({ '#': 2 })
  const client = await RawClient.connected(t, port, { clientId: 'scale', clean: false })
  client.send(publishPacket(8, { qos: 2 }))
  await until(() => ingest.held.length === 1, 'the publish')
  client.socket.destroy()
  await until(() => broker.statistics().clientsConnected === 1, 'the client to go')
  ingest.settleAll()
  await watcher.waitFor('publish')
  const again = await RawClient.connected(t, port, { clientId: 'scale', clean: false })
  again.send(publishPacket(8, { qos: 2, dup: true }))
  await until(() => ingest.held.length === 1, 'the duplicate')
  ingest.settleAll()
  await again.waitFor('pubrec')
  again.send({ cmd: 'pubrel', messageId: 8 })
  await again.waitFor('pubcomp')
  await settleDown()
  t.strictSame(watcher.messages(), ['vital/band-1 m8'])
})

t.test('subscribers see the payload of the verdict', async (t) => {
  const { port, ingest } = await startBroker(t, {
    answer: ({ payload }) => payload.toString() === 'm1'
      ? {
          status: 'durable',
          fanOut: Buffer.from('good part'),
          rejections: [{ reason: 'invalid_reading', errors: [{ path: '/1', message: 'no' }], receivedAt: 7 }],
          elements: 2,
          isKept: true
        }
      : hidden()
  })
  const watcher = await RawClient.connected(t, port)
  await watcher.subscribe({ '#': 1, '$SYS/#': 1, '+/+': 1, '$SYS/discarded': 1 })
  const session = await RawClient.connected(t, port, { clientId: 'session', clean: false })
  await session.subscribe({ '#': 1, '$SYS/#': 1, '$SYS/discarded': 1 })
  session.socket.destroy()
  const client = await RawClient.connected(t, port)
  client.send(publishPacket(1, { retain: true }), publishPacket(2, { retain: true }), publishPacket(3, {
    qos: 2, retain: true
  }), publishPacket(4, { topic: 'vital/a/b' }))
  await client.waitFor('puback', 3)
  await client.waitFor('pubrec')
  await settleDown()
  t.strictSame(ingest.seen.map(({ device }) => device), ['band-1', 'band-1', 'band-1', null])
  const notStatistics = (client: RawClient) => client.messages().filter((message) => !message.startsWith('$SYS/broker/'))
  const expected = [
    'vital/band-1 good part',
    'vital/band-1/rejected {"reason":"invalid_reading","errors":[{"path":"/1","message":"no"}],"receivedAt":7}'
  ]
  t.strictSame(notStatistics(watcher), expected)
  t.equal(watcher.of('publish').find(({ topic }) => topic.endsWith('/rejected'))!.qos, 1)
  const back = await RawClient.connected(t, port, { clientId: 'session', clean: false })
  await settleDown()
  t.strictSame(notStatistics(back), expected, 'nothing was queued either')
  const late = await RawClient.connected(t, port)
  await late.subscribe({ '#': 1, '$SYS/discarded': 1 })
  await settleDown()
  t.strictSame(late.messages(), ['vital/band-1 good part'], 'only the accepted part was retained')
})

t.test('no rejection is announced where the id is invalid', async (t) => {
  const { port, ingest } = await startBroker(t, {
    answer: () => ({
      status: 'durable', fanOut: null, rejections: [{ reason: 'invalid_topic', errors: [], receivedAt: 1 }], elements: 1, isKept: true
    })
  })
  const watcher = await RawClient.connected(t, port)
  await watcher.subscribe({ '#': 1 })
  const client = await RawClient.connected(t, port)
  const topics = [
    'vital/', 'vital//b', 'vital/a/rejected', 'vital/__proto__', `vital/${'x'.repeat(129)}`, `vital/${'/'.repeat(300)}`, 'vital/a$b',
    'vital/\u0001'
  ]
  client.send(...topics.map((topic, index) => publishPacket(index + 1, { topic })))
  await client.waitFor('puback', topics.length)
  await settleDown()
  t.strictSame(ingest.seen.map(({ topic, device }) => ({ topic, device })), topics.map((topic) => ({ topic, device: null })))
  t.strictSame(watcher.messages(), [])
})

t.test('a zero-length retained publish clears and is no reading; without retain it is one', async (t) => {
  const { port, ingest } = await startBroker(t, { answer: durable })
  const client = await RawClient.connected(t, port)
  client.send(publishPacket(1, { retain: true }))
  await client.waitFor('puback')
  client.send(publishPacket(2, {
    retain: true, payload: ''
  }), publishPacket(3, { payload: '' }), publishPacket(4, { retain: true, payload: '', topic: 'vital/a/b' }))
  await client.waitFor('puback', 3)
  t.strictSame(ingest.seen.map(({ topic, payload }) => `${topic} ${payload.toString()}`),
    ['vital/band-1 m1', 'vital/band-1 ', 'vital/a/b '])
  const watcher = await RawClient.connected(t, port)
  await watcher.subscribe({ 'vital/#': 1 })
  await settleDown()
  t.strictSame(watcher.messages(), [])
})

t.test('$SYS/ is reserved, other topics with a dollar are not', async (t) => {
  const { port, ingest, broker } = await startBroker(t)
  const watcher = await RawClient.connected(t, port, { clientId: 'victim' })
  await watcher.subscribe({ $TopicA: 1, '$SYS/forged': 1 })
  const client = await RawClient.connected(t, port)
  client.send(publishPacket(1, { topic: '$TopicA' }))
  await watcher.waitFor('publish')
  client.send(publishPacket(2, { topic: '$SYS/x/new/clients', payload: 'victim' }))
  await client.closed()
  const forger = await RawClient.connected(t, port)
  forger.send(publishPacket(3, { topic: '$SYS/forged', qos: 0 }))
  await forger.closed()
  t.strictSame(watcher.messages(), ['$TopicA m1'])
  t.notOk(watcher.isClosed)
  t.strictSame(ingest.seen, [])
  t.equal(broker.statistics().clientsConnected, 1)
})

t.test('a will below vital/ is ingested behind its client\'s publishes, and dropped when it cannot be stored', async (t) => {
  const { port, ingest, log } = await startBroker(t)
  const watcher = await RawClient.connected(t, port)
  await watcher.subscribe({ '#': 1 })
  const will = { topic: 'vital/band-2', payload: Buffer.from('last words'), qos: 1, retain: false } as const
  for (const verdict of [durable, unavailable]) {
    const client = await RawClient.connected(t, port, { clientId: 'mortal', will })
    client.send(publishPacket(1))
    await until(() => ingest.held.length === 1, 'the publish')
    client.socket.destroy()
    await until(() => ingest.held.length === 2, 'the will')
    t.match(ingest.held[1]!.publish, { topic: 'vital/band-2', device: 'band-2', clientId: 'mortal' })
    ingest.settleAll(verdict, (held) => held.reverse())
  }
  await settleDown()
  t.strictSame(watcher.messages(), ['vital/band-1 m1', 'vital/band-2 last words'])
  t.notOk(log.some(({ msg }) => msg === 'broker error'))
})

t.test('stop waits for a while until a slow client has read its acknowledgements', async (t) => {
  const { broker, port } = await startBroker(t, { limits: { subscriberBufferBytesMax: 100_000_000, stopFlushMs: 5000 } })
  const client = await RawClient.connected(t, port)
  await client.subscribe({ large: 0 })
  client.socket.pause()
  for (let count = 0; count < 20; count++) broker.publish({ topic: 'large', payload: Buffer.alloc(1_000_000), qos: 0 })
  await settleDown()
  setTimeout(() => client.socket.resume(), 100)
  await broker.stop()
  await client.closed()
  t.equal(client.of('publish').length, 20)
})

t.test('stop acknowledges publishes that were settled, and none that are settled later', async (t) => {
  const { broker, port, ingest } = await startBroker(t)
  const watcher = await RawClient.connected(t, port)
  await watcher.subscribe({ '#': 1 })
  const will = { topic: 'vital/will', payload: Buffer.from('not now'), qos: 0, retain: false } as const
  const client = await RawClient.connected(t, port, { will })
  client.send(publishPacket(1), publishPacket(2))
  await until(() => ingest.held.length === 2, 'the publishes')
  const [first, second] = ingest.held.splice(0)
  first!.settle(durable(first!.publish))
  await broker.stop()
  second!.settle(durable(second!.publish))
  await client.closed()
  t.strictSame(client.ids('puback'), [1])
  t.equal(ingest.seen.length, 2, 'no will: the client did not fail')
})
