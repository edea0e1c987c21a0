import { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import mqemitter from 'mqemitter'
import mqttPacket, { type Packet } from 'mqtt-packet'
import t from 'tap'
import type { VitalPublish } from '../../../broker/ingest.ts'
import { WatchedTopics } from '../../../broker/deliver/watched-topics.ts'
import { createRandom } from '../../helpers/random.ts'
import { connectPacket, durable, publishPacket, RawClient, settleDown, shuffled, startBroker } from '../../helpers/broker.ts'
import { until } from '../../helpers/until.ts'

const pick = <T>(random: () => number, items: readonly T[]): T => items[Math.floor(random() * items.length)]!

/** Packets that a device may send; most of them take the fast path. */
function makePackets (random: () => number, count: number): Packet[] {
  const packets: Packet[] = []
  for (let id = 1; id <= count; id++) {
    const kind = random()
    if (kind < 0.05) packets.push({ cmd: 'pingreq' })
    else if (kind < 0.08) packets.push({ cmd: 'subscribe', messageId: id, subscriptions: [{ topic: `vital/${id}`, qos: 0 }] })
    else {
      packets.push(publishPacket(id, {
        topic: pick(random, ['vital/band-1', 'vital/band-1', 'vital/größe', 'vital/a/b', 'vital/', 'chat/x']),
        qos: pick(random, [1, 1, 1, 1, 1, 1, 0, 2]),
        retain: random() < 0.05,
        dup: random() < 0.1,
        payload: `m${id}${'.'.repeat(pick(random, [0, 1, 100, 130, 20_000]))}`
      }))
    }
  }
  return packets.map((packet) => packet.cmd === 'publish' && packet.qos === 0 ? { ...packet, dup: false } : packet)
}

t.test('every publish is stored and acknowledged once, in order, among any packets and wherever the stream is cut', async (t) => {
  const seed = Number(process.env['EXPRESS_SEED'] ?? Math.floor(Math.random() * 2 ** 32))
  t.comment(`EXPRESS_SEED=${seed}`)
  const random = createRandom(seed)
  for (let round = 0; round < 15; round++) {
    const { port, ingest, broker } = await startBroker(t)
    const client = await RawClient.connected(t, port)
    const packets = makePackets(random, 120)
    const publishes = packets.filter((packet) => packet.cmd === 'publish')
    const vital = publishes.filter(({ topic }) => topic.startsWith('vital/'))
    const bytes = Buffer.concat(packets.map((packet) => mqttPacket.generate(packet)))
    const settling = setInterval(() => {
      if (random() < 0.3) broker.pauseReading()
      else broker.resumeReading()
      ingest.settleAll(durable, (held) => shuffled(held, random))
    }, 1)
    t.teardown(() => clearInterval(settling))
    for (let at = 0; at < bytes.length;) {
      const end = at + Math.ceil(random() ** 3 * pick(random, [3, 200, 60_000]))
      client.socket.write(bytes.subarray(at, end))
      at = end
      if (random() < 0.3) await sleep(0)
    }
    const acknowledged = publishes.filter(({ qos }) => qos === 1).map(({ messageId }) => messageId)
    await until(() => client.of('puback').length === acknowledged.length && ingest.seen.length === vital.length,
      `round ${round}: ${ingest.seen.length} of ${vital.length} seen, ${client.of('puback').length} of ${acknowledged.length} acknowledged`)
    t.strictSame(client.ids('puback'), acknowledged)
    t.strictSame(ingest.seen.map(({ topic, payload }) => [topic, payload.toString()]), vital.map(({ topic, payload }) => [topic, payload]))
    t.equal(client.of('pingresp').length, packets.filter(({ cmd }) => cmd === 'pingreq').length)
    t.equal(broker.statistics().publishesReceived, publishes.length)
    clearInterval(settling)
    client.socket.destroy()
  }
})

t.test('the bytes of a publish within a payload are not taken for a publish, wherever the stream is cut', async (t) => {
  const { port, ingest } = await startBroker(t, { answer: durable })
  const watcher = await RawClient.connected(t, port)
  await watcher.subscribe({ 'chat/+': 0 })
  const device = await RawClient.connected(t, port)
  const hidden = mqttPacket.generate(publishPacket(7))
  for (const [qos, whole] of [[0, 1], [0, 20], [0, 49], [1, 20], [2, 20]] as const) {
    const packet = mqttPacket.generate(publishPacket(1, {
      qos, topic: 'chat/x', payload: Buffer.concat(Array.from({ length: 50 }, () => hidden))
    }))
    const cutAt = packet.length - whole * hidden.length
    device.socket.write(packet.subarray(0, cutAt))
    await settleDown()
    device.socket.write(packet.subarray(cutAt))
    if (qos === 2) {
      await device.waitFor('pubrec')
      device.send({ cmd: 'pubrel', messageId: 1 })
    }
    await watcher.waitFor('publish')
    t.strictSame(watcher.of('publish').map(({ payload }) => payload.length), [50 * hidden.length])
    watcher.packets.length = 0
  }
  t.strictSame(device.ids('puback'), [1])
  t.strictSame(ingest.seen, [])
})

/** A socket that the test fills. */
class FedSocket extends Socket {
  override _write (_bytes: Buffer, _encoding: BufferEncoding, done: () => void): void { done() }
  override _writev (_chunks: unknown, done: () => void): void { done() }
  feed (...packets: Packet[]): void {
    this.push(Buffer.concat(packets.map((packet) => mqttPacket.generate(packet))))
  }
}

t.test('a chunk that comes while the stream holds bytes does not overtake them', async (t) => {
  const { broker, ingest } = await startBroker(t, { answer: durable })
  const socket = new FedSocket()
  broker.accept(socket, { transport: 'tcp', remoteAddress: '192.0.2.1', certificateNames: [] })
  socket.feed(connectPacket())
  await until(() => broker.statistics().clientsConnected === 1, 'CONNECT')
  // Publishes behind a ping wait in the stream for the next turn of the event loop.
  socket.feed({ cmd: 'pingreq' }, publishPacket(1))
  socket.feed(publishPacket(2))
  process.nextTick(() => { socket.feed(publishPacket(3)) })
  await until(() => ingest.seen.length === 3, 'three publishes')
  socket.feed(publishPacket(4))
  t.equal(ingest.seen.length, 4, 'taken at once when nothing waits')
  t.strictSame(ingest.seen.map(({ payload }) => payload.toString()), ['m1', 'm2', 'm3', 'm4'])
  socket.destroy()
})

t.test('subscribers see publishes of the fast path from their SUBACK on', async (t) => {
  const { port } = await startBroker(t, { answer: durable })
  const device = await RawClient.connected(t, port)
  const session = await RawClient.connected(t, port, { clientId: 'kept', clean: false })
  await session.subscribe({ 'vital/+': 1 })
  session.socket.destroy()
  await sleep(20)
  device.send(publishPacket(1))
  await device.waitFor('puback')
  const watcher = await RawClient.connected(t, port)
  await watcher.subscribe({ 'vital/band-1': 1 })
  device.send(publishPacket(2), publishPacket(3))
  await watcher.waitFor('publish', 2)
  t.strictSame(watcher.messages(), ['vital/band-1 m2', 'vital/band-1 m3'])
  const back = await RawClient.connected(t, port, { clientId: 'kept', clean: false })
  await back.waitFor('publish', 3)
  t.strictSame(back.messages(), ['vital/band-1 m1', 'vital/band-1 m2', 'vital/band-1 m3'], 'an absent subscriber gets them, too')
})

t.test('packets behind DISCONNECT are ignored, in one segment or in several', async (t) => {
  const { port, ingest } = await startBroker(t, { answer: durable })
  const behind: Packet[][] = [
    [publishPacket(2)], [publishPacket(2, { qos: 0 })], [publishPacket(2, { retain: true })], [{ cmd: 'pingreq' }, publishPacket(2)]
  ]
  for (const packets of behind) {
    for (const isCut of [false, true]) {
      const client = await RawClient.connected(t, port)
      ingest.seen.length = 0
      client.send(publishPacket(1), { cmd: 'disconnect' }, ...packets)
      if (isCut) client.send(publishPacket(3))
      await client.closed()
      await sleep(10)
      t.strictSame(ingest.seen.map(({ payload }) => payload.toString()), ['m1'])
    }
  }
})

t.test('a held publish that no subscription matched keeps no payload, and a later subscription gets the next one', async (t) => {
  const held: VitalPublish[] = []
  const { port } = await startBroker(t, { ingest: (publish) => { held.push(publish) } })
  const device = await RawClient.connected(t, port)
  device.send(publishPacket(1))
  await until(() => held.length === 1, 'the publish')
  t.equal(held[0]!.payload.length, 0, 'the chunk that held it is not kept')
  const operator = await RawClient.connected(t, port)
  await operator.subscribe({ 'vital/#': 1 })
  held[0]!.settle(durable(held[0]!))
  await device.waitFor('puback')
  device.send(publishPacket(2))
  await until(() => held.length === 2, 'the next publish')
  t.equal(held[1]!.payload.toString(), 'm2')
  held[1]!.settle(durable(held[1]!))
  await operator.waitFor('publish')
  t.strictSame(operator.messages(), ['vital/band-1 m2'])
})

t.test('a device that leaves while such a publish is held causes no empty message', async (t) => {
  const held: VitalPublish[] = []
  const { port } = await startBroker(t, { ingest: (publish) => { held.push(publish) } })
  const device = await RawClient.connected(t, port)
  device.send(publishPacket(1))
  await until(() => held.length === 1, 'the publish')
  const operator = await RawClient.connected(t, port)
  await operator.subscribe({ 'vital/#': 1 })
  device.socket.destroy()
  await settleDown()
  held[0]!.settle(durable(held[0]!))
  await settleDown()
  t.strictSame(operator.messages(), [])
})

t.test('a topic of zero length closes the connection, also as the first topic', async (t) => {
  const { port } = await startBroker(t, { answer: durable })
  for (const before of [0, 1]) {
    const client = await RawClient.connected(t, port)
    if (before > 0) client.send(publishPacket(2))
    await client.waitFor('puback', before)
    client.socket.write(Buffer.from([0x32, 4, 0, 0, 0, 1]))
    await client.closed()
    t.equal(client.of('puback').length, before)
  }
})

t.test('a device that publishes steadily needs no PINGREQ to stay connected', async (t) => {
  const { port } = await startBroker(t, { answer: durable })
  const device = await RawClient.connected(t, port, { keepalive: 1 })
  for (let id = 1; id <= 10; id++) {
    device.send(publishPacket(id))
    await sleep(250)
  }
  t.notOk(device.isClosed)
  t.equal(device.of('puback').length, 10)
})

t.test('watched topics include every topic that a filter matches', (t) => {
  const levels = ['vital', '+', '#', 'a', 'b', '', 'rejected']
  const topics = ['vital', 'a', 'b', '', 'rejected'].map((device) => `vital/${device}`)
  const filters = [...levels, ...levels.flatMap((first) => levels.flatMap((second) =>
    [`${first}/${second}`, ...levels.map((third) => `${first}/${second}/${third}`)]))]
  for (const filter of filters) {
    if (filter === '' || /#./.test(filter)) continue
    const seen = new Set<string>()
    const emitter = mqemitter({ matchEmptyLevels: true })
    emitter.on(filter, ({ topic }, done) => { seen.add(topic); done() })
    for (const topic of topics) emitter.emit({ topic })
    const watchers = new WatchedTopics()
    const listener = {}
    watchers.add(filter, listener)
    for (const topic of seen) t.ok(watchers.has(topic), `${filter} sees ${topic}`)
    if (seen.size === 0) t.notOk(topics.some((topic) => watchers.has(topic)), `${filter} sees nothing`)
    watchers.remove(filter, {})
    for (const topic of seen) t.ok(watchers.has(topic), 'removing another listener changes nothing')
    watchers.remove(filter, listener)
    t.notOk(topics.some((topic) => watchers.has(topic)), `${filter} is gone`)
  }
  t.end()
})
