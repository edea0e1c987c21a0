import { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import mqttPacket, { type Packet } from 'mqtt-packet'
import t, { type Test } from 'tap'
import type { LimitName } from '../../broker/limit-hits.ts'
import type { DEFAULT_LIMITS } from '../../broker/limits.ts'
import { RateLimiter } from '../../broker/publish/rate-limiter.ts'
import { connectPacket, durable, publishPacket, RawClient, settleDown, startBroker, type TestBroker } from '../helpers/broker.ts'
import { until } from '../helpers/until.ts'

const REFUSED = 128
const range = (count: number) => Array.from({ length: count }, (_, index) => index + 1)
const hitsOf = ({ broker }: TestBroker, limit: LimitName) => broker.statistics().limitHits.get(limit)
const start = (t: Test, limits: Partial<typeof DEFAULT_LIMITS>) => startBroker(t, { answer: durable, limits })

t.test('a bucket gives its burst at once and its rate from then on', async (t) => {
  const limiter = new RateLimiter({ messagesPerSecondMax: 100, bytesPerSecondMax: 10_000 }, 0)
  t.match(limiter, { messages: 200, bytes: 20_000 })
  t.equal(limiter.shortage(64), null)
  limiter.spend(200, 5000)
  t.strictSame(limiter.shortage(64), { of: 'messages', waitMs: 640 })
  limiter.fill(640)
  t.match(limiter, { messages: 64, bytes: 20_000 })
  limiter.spend(0, 20_000)
  t.strictSame(limiter.shortage(64), { of: 'bytes', waitMs: 640 })
  limiter.fill(1_000_000)
  t.match(limiter, { messages: 200, bytes: 20_000 }, 'no more than the burst, however long it was silent')
  limiter.fill(0)
  t.match(limiter, { messages: 200, bytes: 20_000 }, 'a clock that goes back takes nothing')
  const unlimited = new RateLimiter({ messagesPerSecondMax: 0, bytesPerSecondMax: 1000 }, 0)
  unlimited.spend(1_000_000, 10)
  t.equal(unlimited.shortage(64), null)
})

for (const [what, packet] of [['QoS 1', publishPacket(1)], ['QoS 2', publishPacket(1, { qos: 2 })], ['relayed', publishPacket(1,
  { topic: 'chat' })]] as const) {
  t.test(`a device that sends too fast is read more slowly and loses nothing: ${what}`, async (t) => {
    const test = await start(t, { messagesPerSecondMax: 100 })
    const device = await RawClient.connected(t, test.port)
    const other = await RawClient.connected(t, test.port)
    const ids = range(400)
    const sentMs = performance.now()
    device.send(...ids.map((messageId) => ({ ...packet, messageId })))
    await until(() => test.broker.statistics().publishesReceived >= 200, 'the burst')
    other.send(publishPacket(1))
    await other.waitFor('puback')
    const answer = what === 'QoS 2' ? 'pubrec' : 'puback'
    await device.waitFor(answer, ids.length)
    t.strictSame(device.ids(answer), ids)
    t.ok(performance.now() - sentMs > 1900, 'two seconds for the messages beyond the burst')
    t.ok(hitsOf(test, 'messages_per_second')! > 0)
  })
}

t.test('bytes count as well, and a publish larger than the burst passes all the same', async (t) => {
  for (const qos of [1, 2] as const) {
    const test = await start(t, { messagesPerSecondMax: 0, bytesPerSecondMax: 20_000 })
    const device = await RawClient.connected(t, test.port)
    const sentMs = performance.now()
    device.send(publishPacket(1, { qos, payload: 'x'.repeat(60_000) }), publishPacket(2, { qos }))
    await device.waitFor(qos === 1 ? 'puback' : 'pubrec', 2)
    t.strictSame(test.ingest.seen.map(({ payload }) => payload.length), [60_000, 2])
    t.ok(performance.now() - sentMs > 900, 'a second for the bytes beyond the burst')
    t.ok(hitsOf(test, 'bytes_per_second')! > 0)
  }
})

t.test('with a low limit a ping does not use up the publishes of a device', async (t) => {
  const test = await start(t, { messagesPerSecondMax: 10 })
  const device = await RawClient.connected(t, test.port)
  const sentMs = performance.now()
  device.send({ cmd: 'pingreq' }, ...range(10).map((messageId) => publishPacket(messageId)), { cmd: 'pingreq' })
  await device.waitFor('pingresp', 2)
  t.strictSame(device.ids('puback'), range(10))
  t.equal(hitsOf(test, 'messages_per_second'), 0, `all in ${performance.now() - sentMs} ms, within the burst of 20`)
})

t.test('a flood of pings or subscriptions is slowed too, and a slowed client can still leave', async (t) => {
  // Twenty messages each.
  const test = await start(t, { messagesPerSecondMax: 2000 })
  const packets: Packet[] = [{ cmd: 'pingreq' }, { cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: '#', qos: 0 }] }]
  for (const packet of packets) {
    const client = await RawClient.connected(t, test.port)
    const before = test.broker.statistics().packetsReceived
    const received = () => test.broker.statistics().packetsReceived - before
    const sentMs = performance.now()
    client.send(...range(5000).map(() => packet))
    await until(() => received() >= 200, 'the burst')
    await settleDown()
    t.ok(received() <= 200 + (performance.now() - sentMs) / 10 + 1, `${received()}: no more than the burst and the rate since`)
    client.socket.destroy()
    await until(() => test.broker.statistics().connections === 0, 'it to go')
  }
})

t.test('bytes beyond the rate of a flood are not read into memory', async (t) => {
  const test = await start(t, { messagesPerSecondMax: 20_000 })
  for (const packet of [publishPacket(1), publishPacket(1, { qos: 2 }), publishPacket(1, {
    qos: 0, topic: 'a'
  }), { cmd: 'pingreq' }] satisfies Packet[]) {
    const flood = Buffer.concat(range(2000).map(() => mqttPacket.generate(packet)))
    let taken = 0
    const device = new Duplex({
      read () {
        taken += flood.length
        setImmediate(() => this.push(flood))
      },
      write: (_chunk, _encoding, done) => { done() }
    })
    device.unshift(mqttPacket.generate(connectPacket()))
    const before = test.broker.statistics().bytesReceived
    test.broker.accept(device, { transport: 'tcp', remoteAddress: '192.0.2.1', certificateNames: [] })
    await sleep(1500)
    const waiting = taken - (test.broker.statistics().bytesReceived - before)
    t.ok(taken > 2 * flood.length, `${taken} bytes: the flood is read`)
    t.ok(waiting <= device.readableHighWaterMark + 2 * flood.length, `${waiting} bytes of ${packet.cmd} wait, in chunks of ${flood.length}`)
    device.destroy()
    await until(() => test.broker.statistics().connections === 0, 'it to go')
  }
})

t.test('a silent client is closed, whatever keepalive it asked for', async (t) => {
  const test = await start(t, { keepaliveSecondsMax: 2 })
  const silent = [await RawClient.connected(t, test.port, { keepalive: 0 }), await RawClient.connected(t, test.port, { keepalive: 65_535 })]
  const lively = await RawClient.connected(t, test.port, { keepalive: 0 })
  for (let times = 0; times < 10; times++) {
    await sleep(400)
    lively.send(times % 2 === 0 ? { cmd: 'pingreq' } : publishPacket(times))
  }
  await Promise.all(silent.map((client) => client.closed()))
  t.notOk(lively.isClosed)
  t.equal(hitsOf(test, 'keepalive'), 2)
})

t.test('a CONNECT that trickles in, is huge or has no end', async (t) => {
  const test = await start(t, { connectTimeoutMs: 1500 })
  const slow = await RawClient.open(t, test.port)
  const trickle = setInterval(() => { slow.socket.write(Buffer.from([0x00])) }, 20)
  t.teardown(() => clearInterval(trickle))
  slow.socket.write(Buffer.from([0x10, 0x7f]))
  const huge = await RawClient.open(t, test.port)
  huge.socket.write(Buffer.from([0x10, 0xff, 0xff, 0xff, 0x7f]))
  const endless = await RawClient.open(t, test.port)
  endless.socket.write(Buffer.from([0x10, 0xff, 0xff, 0xff, 0xff, 0x7f]))
  await Promise.all([slow, huge, endless].map((client) => client.closed()))
  t.strictSame(['connect_time', 'connect_bytes', 'packet_length'].map((name) => hitsOf(test, name as LimitName)), [1, 1, 1])
  const large = await RawClient.connected(t, test.port)
  large.socket.write(Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f]))
  await large.closed()
  t.equal(hitsOf(test, 'packet_bytes'), 1)
})

t.test('long and deep topics that are relayed close the connection', async (t) => {
  const test = await start(t, {})
  for (const [topic, limit] of [['x'.repeat(1025), 'topic_length'], ['a/'.repeat(100), 'topic_levels']] as const) {
    const client = await RawClient.connected(t, test.port)
    client.send(publishPacket(1, { topic }))
    await client.closed()
    t.equal(hitsOf(test, limit), 1)
  }
})

t.test('subscription bombs', async (t) => {
  const test = await start(t, { subscriptionsPerClientMax: 20, subscriptionLevelsMax: 1000 })
  const bomb = (depth: number) => Array(depth).fill('+').join('/')
  const clients = [await RawClient.connected(t, test.port), await RawClient.connected(t, test.port, {
    clientId: 'kept', clean: false
  })] as const
  t.strictSame(await clients[0].subscribe({ [bomb(101)]: 1, [`${'x'.repeat(1025)}`]: 1 }), [REFUSED, REFUSED])
  t.equal(hitsOf(test, 'filter'), 2)
  const granted = await clients[0].subscribe(Object.fromEntries(range(30).map((depth) => [bomb(depth), 1])))
  t.equal(granted.filter((qos) => qos === 1).length, 20)
  t.equal(hitsOf(test, 'subscriptions_per_client'), 10)
  const deep = await clients[1].subscribe(Object.fromEntries(range(15).map((index) => [`${index}/${bomb(99)}`, 1])))
  t.equal(deep.filter((qos) => qos === 1).length, 7, '790 levels are left')
  t.equal(hitsOf(test, 'subscriptions'), 8)
  clients[0].send(publishPacket(1, { topic: 'vital/band' }))
  await clients[0].waitFor('puback')
  await clients[0].waitFor('publish')
  t.strictSame(await clients[1].subscribe({ [`1/${bomb(99)}`]: 1 }), [1], 'an existing subscription may be asked for again')
  for (const client of clients) client.socket.destroy()
  await until(() => test.broker.statistics().subscriptions === 0, 'them to go')
  const after = await RawClient.connected(t, test.port)
  t.strictSame(await after.subscribe({ [bomb(99)]: 1 }), [1], 'they make room')
  await RawClient.connected(t, test.port, { clientId: 'kept' })
})

t.test('one absent session cannot fill the memory that all share', async (t) => {
  const test = await start(t, { queuedBytesPerSessionMax: 10_000, queuedBytesMax: 100_000, retainedBytesMax: 3000 })
  for (const [clientId, filter] of [['hoarder', '#'], ['nurse', 'vital/+/rejected']] as const) {
    const session = await RawClient.connected(t, test.port, { clientId, clean: false })
    await session.subscribe({ [filter]: 1 })
    session.socket.destroy()
  }
  await until(() => test.broker.statistics().connections === 0, 'them to go')
  const client = await RawClient.connected(t, test.port)
  client.send(...range(50).map((messageId) => publishPacket(messageId, { payload: 'x'.repeat(1000), retain: true })))
  await client.waitFor('puback', 50)
  const { queuedBytes } = test.broker.statistics()
  t.ok(queuedBytes >= 10_000 && queuedBytes < 12_000, `${queuedBytes}`)
  t.ok(hitsOf(test, 'queue')! > 30)
  test.broker.publish({ topic: 'vital/band/rejected', payload: Buffer.from('why'), qos: 1 })
  const nurse = await RawClient.connected(t, test.port, { clientId: 'nurse', clean: false })
  await nurse.waitFor('publish')
  client.send(publishPacket(51, { topic: 'vital/other', payload: 'x'.repeat(3000), retain: true }))
  await client.waitFor('puback', 51)
  await until(() => hitsOf(test, 'retained')! > 0, 'the retained one to be refused')
})

t.test('half-open QoS 2 publishes and held ones', async (t) => {
  const test = await startBroker(t, { limits: { inboundQos2PerClientMax: 5, heldMessagesPerClientMax: 10 } })
  const client = await RawClient.connected(t, test.port)
  client.send(...range(30).map((messageId) => publishPacket(messageId)))
  await until(() => hitsOf(test, 'held') === 1, 'the gate to close')
  while (client.of('puback').length < 30) {
    test.ingest.settleAll()
    await sleep(5)
  }
  client.send(...range(6).map((messageId) => publishPacket(messageId, { qos: 2 })))
  await until(() => test.ingest.held.length === 6, 'the publishes')
  test.ingest.settleAll()
  await client.closed()
  t.equal(hitsOf(test, 'qos2_in_flight'), 1)
})

t.test('sessions and a subscriber that does not read', async (t) => {
  const test = await start(t, { sessionsMax: 1, subscriberBufferBytesMax: 1000 })
  const [first, second] = [await RawClient.connected(t, test.port, {
    clientId: 'a', clean: false
  }), await RawClient.connected(t, test.port, { clientId: 'b', clean: false })]
  await first.subscribe({ 'vital/#': 0 })
  t.strictSame(await second.subscribe({ x: 1 }), [REFUSED])
  t.equal(hitsOf(test, 'sessions'), 1)
  first.socket.pause()
  const publisher = await RawClient.connected(t, test.port)
  for (let messageId = 1; hitsOf(test, 'subscriber_buffer') === 0 && messageId < 500; messageId++) {
    publisher.send(publishPacket(messageId, { payload: 'x'.repeat(200_000) }))
    await publisher.waitFor('puback', messageId)
  }
  t.ok(hitsOf(test, 'subscriber_buffer')! > 0)
})
