import { setTimeout as sleep } from 'node:timers/promises'
import mqttPacket from 'mqtt-packet'
import t from 'tap'
import { connectPacket, durable, publishPacket, RawClient, settleDown, startBroker, unavailable } from '../../helpers/broker.ts'
import { exactly } from '../../helpers/exactly.ts'
import { until } from '../../helpers/until.ts'

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index)

t.test('a packet over the limit closes the connection, once earlier publishes are acknowledged', async (t) => {
  const { port, ingest, broker, log } = await startBroker(t, { limits: { packetBytesMax: 20_000 } })
  const client = await RawClient.connected(t, port)
  client.send(publishPacket(1), publishPacket(2, { payload: 'x'.repeat(30_000) }), publishPacket(3))
  await until(() => ingest.held.length === 1, 'the first')
  await settleDown()
  t.notOk(client.isClosed, 'the first still waits')
  ingest.settleAll()
  await client.closed()
  t.strictSame(client.ids('puback'), [1])
  t.equal(ingest.seen.length, 1)
  t.equal(broker.statistics().limitHits.get('packet_bytes'), 1)
  t.match(log.filter(({ violation }) => violation !== undefined), exactly({ level: 30, violation: 'packet_too_large' }))

  const largest = await RawClient.connected(t, port)
  const overhead = mqttPacket.generate(publishPacket(1, { payload: 'x'.repeat(19_000) })).length - 19_000
  largest.send(publishPacket(1, { payload: 'x'.repeat(20_000 - overhead) }))
  await until(() => ingest.held.length === 1, 'the largest')
  ingest.settleAll()
  await largest.waitFor('puback')
})

t.test('before CONNECT is complete the limit is 16 KiB', async (t) => {
  const { port, broker } = await startBroker(t)
  const large = { will: { topic: 'a', payload: Buffer.alloc(17_000), qos: 0, retain: false } } as const
  for (const bytes of [
    mqttPacket.generate(connectPacket(large)), Buffer.from([0x10, 0xff, 0xff, 0xff, 0x7f]), Buffer.from([0x10, 0xff, 0xff, 0xff, 0xff])
  ]) {
    const stranger = await RawClient.open(t, port)
    stranger.socket.write(bytes)
    await stranger.closed()
  }
  const { limitHits } = broker.statistics()
  t.strictSame([limitHits.get('connect_bytes'), limitHits.get('packet_length')], [2, 1])
  const fitting = { will: { topic: 'a', payload: Buffer.alloc(15_000), qos: 0, retain: false } } as const
  const client = await RawClient.connected(t, port, fitting)
  t.notOk(client.isClosed)
})

t.test('a first packet that is not CONNECT, or comes too late, closes the connection', async (t) => {
  const { port, ingest } = await startBroker(t, { limits: { connectTimeoutMs: 200 } })
  const rude = await RawClient.open(t, port)
  rude.send(publishPacket(1), publishPacket(2))
  await rude.closed()
  const slow = await RawClient.open(t, port)
  slow.socket.write(mqttPacket.generate(connectPacket()).subarray(0, 9))
  await slow.closed()
  t.strictSame(ingest.seen, [])
})

t.test('5,000 publishes in one write with CONNECT wait for a slow authentication', async (t) => {
  const { port, ingest } = await startBroker(t, {
    answer: durable,
    authenticate: async () => { await sleep(300); return { status: 'accepted', principal: null } }
  })
  const client = await RawClient.open(t, port)
  const ids = range(1, 5000)
  client.send(connectPacket(), ...ids.map((id) => publishPacket(id)))
  await sleep(150)
  t.strictSame(ingest.seen, [], 'nothing before CONNACK')
  await client.waitFor('puback', ids.length)
  t.strictSame(client.ids('puback'), ids)
  t.equal(client.of('connack').length, 1)
})

t.test('paused: publishers stop, other clients go on, memory does not grow, and nothing is lost', async (t) => {
  const { port, ingest, broker } = await startBroker(t)
  const operator = await RawClient.connected(t, port)
  const client = await RawClient.connected(t, port)
  broker.pauseReading()
  const ids = range(1, 10_000)
  client.send({ cmd: 'pingreq' }, ...ids.map((id) => publishPacket(id, { payload: 'x'.repeat(500) })))
  await client.waitFor('pingresp')
  await settleDown()
  const { bytesReceived, publishesReceived } = broker.statistics()
  t.equal(publishesReceived, 0)
  t.ok(client.socket.bytesWritten > 5_000_000 && bytesReceived < 1000, 'the rest is in the kernel and in the client')

  t.strictSame(await operator.subscribe({ 'vital/#': 0 }), [0], 'an operator may subscribe')
  operator.send({ cmd: 'pingreq' })
  await operator.waitFor('pingresp')
  broker.publish({ topic: 'vital/other', payload: Buffer.from('seen'), qos: 1 })
  await operator.waitFor('publish')
  const newcomer = await RawClient.connected(t, port)
  newcomer.send({ cmd: 'pingreq' }, publishPacket(1, { topic: 'vital/new' }))
  await newcomer.waitFor('pingresp')
  t.strictSame(ingest.seen, [])

  ingest.answer = durable
  broker.resumeReading()
  await client.waitFor('puback', ids.length)
  await newcomer.waitFor('puback')
  t.strictSame(client.ids('puback'), ids)
})

t.test('pausing again and again, in the midst of packets, loses and reorders nothing', async (t) => {
  const { port, ingest, broker } = await startBroker(t, { answer: durable })
  const clients = await Promise.all(range(1, 5).map(() => RawClient.connected(t, port)))
  const ids = range(1, 3000)
  for (const client of clients) {
    for (const id of ids) {
      client.send(publishPacket(id, { payload: 'x'.repeat(id % 900) }), ...(id % 50 === 0
        ? [{ cmd: 'pingreq' } as const]
        : []))
    }
  }
  for (let round = 0; round < 40; round++) {
    broker.pauseReading()
    await sleep(round % 7)
    broker.resumeReading()
    await sleep(round % 3)
  }
  for (const client of clients) {
    await client.waitFor('puback', ids.length)
    await client.waitFor('pingresp', ids.length / 50)
    t.strictSame(client.ids('puback'), ids)
  }
  t.equal(ingest.seen.length, ids.length * clients.length)
})

t.test('the held publishes of one client are bounded', async (t) => {
  const { port, ingest } = await startBroker(t, { limits: { heldMessagesPerClientMax: 20 } })
  const other = await RawClient.connected(t, port)
  const client = await RawClient.connected(t, port)
  // One chunk each, so that Aedes itself reads on while all earlier ones are held.
  for (const id of range(1, 60)) {
    client.send(publishPacket(id))
    await sleep(2)
  }
  await settleDown()
  t.equal(ingest.held.length, 21, 'the limit, and the one that exceeded it')
  other.send(publishPacket(1))
  await until(() => ingest.held.length === 22, 'another client')
  ingest.held.splice(0, 5).forEach(({ publish, settle }) => settle(durable(publish)))
  await settleDown()
  t.equal(ingest.held.length, 17, 'it opens at half')
  ingest.answer = durable
  ingest.settleAll()
  await client.waitFor('puback', 60)
  t.strictSame(client.ids('puback'), range(1, 60))
})

t.test('held publishes of one client are bounded in bytes too, relayed ones included', async (t) => {
  const { port, ingest } = await startBroker(t, { limits: { heldBytesPerClientMax: 100_000 } })
  const client = await RawClient.connected(t, port)
  client.send(publishPacket(1))
  await until(() => ingest.held.length === 1, 'the first')
  for (const id of range(2, 20)) {
    client.send(publishPacket(id, { topic: 'chat', payload: 'x'.repeat(30_000) }))
    await sleep(5)
  }
  client.send(publishPacket(21))
  await settleDown()
  t.equal(ingest.seen.length, 1, 'the last is not read')
  ingest.answer = durable
  ingest.settleAll()
  await client.waitFor('puback', 21)
  t.strictSame(client.ids('puback'), range(1, 21))
})

t.test('a client that published and left while its gate was stopped is still read', async (t) => {
  const { port, ingest, broker } = await startBroker(t, { answer: durable })
  const watcher = await RawClient.connected(t, port)
  await watcher.subscribe({ '#': 0 })
  const client = await RawClient.connected(t, port)
  broker.pauseReading()
  client.send(publishPacket(0, { qos: 0 }), publishPacket(1, { qos: 0, topic: 'vital/band-2' }), { cmd: 'disconnect' })
  client.socket.end()
  const shot = await RawClient.open(t, port)
  shot.send(connectPacket(), publishPacket(0, { qos: 0, topic: 'vital/band-3' }), { cmd: 'disconnect' })
  shot.socket.end()
  await settleDown()
  t.strictSame(ingest.seen, [])
  broker.resumeReading()
  await watcher.waitFor('publish', 3)
  t.strictSame(watcher.messages().sort(), ['vital/band-1 m0', 'vital/band-2 m1', 'vital/band-3 m0'])
  await until(() => broker.statistics().connections === 1, 'both to be closed')
})

t.test('a stopped client that vanishes, or is closed, is forgotten', async (t) => {
  const { port, ingest, broker } = await startBroker(t)
  const client = await RawClient.connected(t, port)
  client.send(publishPacket(1))
  await until(() => ingest.held.length === 1, 'the publish')
  broker.pauseReading()
  const gone = await RawClient.connected(t, port)
  gone.send(publishPacket(1))
  client.send(publishPacket(2))
  await settleDown()
  t.equal(broker.statistics().publishesReceived, 1, 'both stop')
  gone.socket.resetAndDestroy()
  await until(() => broker.statistics().connections === 1, 'the reset')
  ingest.settleAll(unavailable)
  await client.closed()
  await until(() => broker.statistics().connections === 0, 'the rest')
  broker.resumeReading()
  await settleDown()
  t.equal(ingest.seen.length, 1)
  const next = await RawClient.connected(t, port)
  next.send(publishPacket(1))
  await until(() => ingest.held.length === 1, 'the next client to be read')
})

t.test('packets and publishes are counted', async (t) => {
  const { port, broker } = await startBroker(t, { answer: durable })
  const client = await RawClient.connected(t, port)
  client.send(publishPacket(1), publishPacket(2), { cmd: 'pingreq' })
  await client.waitFor('puback', 2)
  t.match(broker.statistics(), { packetsReceived: 4, publishesReceived: 2, clientsConnected: 1, connections: 1 })
})
