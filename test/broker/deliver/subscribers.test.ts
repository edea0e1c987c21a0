import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { connectClient, durable, publishPacket, RawClient, settleDown, startBroker } from '../../helpers/broker.ts'
import { until } from '../../helpers/until.ts'

t.test('a frozen subscriber loses deliveries and then its connection; others are not affected', async (t) => {
  const { port, broker } = await startBroker(t, { answer: durable, limits: { subscriberBufferBytesMax: 200_000, drainTimeoutMs: 1500 } })
  const frozen = await RawClient.connected(t, port)
  await frozen.subscribe({ 'vital/#': 0, 'chat/#': 1 })
  frozen.socket.pause()
  const others = await Promise.all(Array.from({ length: 100 }, () => RawClient.connected(t, port)))
  await Promise.all(others.map((other) => other.subscribe({ 'vital/done': 1 })))
  const publisher = await RawClient.connected(t, port)
  const payload = 'x'.repeat(10_000)
  let id = 0
  let largest = 0
  const startedAtMs = performance.now()
  while (broker.statistics().deliveriesDropped < 100) {
    if (performance.now() - startedAtMs > 20_000) throw new Error('nothing was dropped')
    publisher.send(...Array.from({ length: 20 }, () => publishPacket(++id, { payload, topic: id % 2 === 0 ? 'vital/a' : 'chat/a' })))
    await publisher.waitFor('puback', id)
    largest = Math.max(largest, id)
  }
  t.strictSame(publisher.ids('puback'), Array.from({ length: id }, (_, index) => index + 1), 'no publisher waits for it')
  publisher.send(publishPacket(id + 1, { topic: 'vital/done' }))
  await Promise.all(others.map((other) => other.waitFor('publish')))
  await until(() => broker.statistics().clientsConnected === 101, 'the frozen one to be closed')
  t.notOk(others.some((other) => other.isClosed))
})

t.test('a slow subscriber loses deliveries beyond its buffer, and stays connected', async (t) => {
  const { port, broker } = await startBroker(t, { limits: { subscriberBufferBytesMax: 200_000 } })
  const slow = await RawClient.connected(t, port)
  await slow.subscribe({ 'vital/#': 0 })
  slow.socket.pause()
  const count = 300
  for (let sent = 0; sent < count; sent++) {
    broker.publish({ topic: 'vital/a', payload: Buffer.alloc(100_000), qos: 0 })
    await new Promise((resolve) => { setImmediate(resolve) })
  }
  await settleDown()
  const { deliveriesDropped } = broker.statistics()
  t.ok(deliveriesDropped > 0, `${deliveriesDropped} of ${count}`)
  slow.socket.resume()
  await slow.waitFor('publish', count - deliveriesDropped)
  await settleDown()
  t.equal(slow.of('publish').length, count - deliveriesDropped)
  broker.publish({ topic: 'vital/a', payload: Buffer.from('later'), qos: 0 })
  await until(() => slow.messages().includes('vital/a later'), 'a later message')
})

t.test('deliveries keep to the QoS granted', async (t) => {
  const { port } = await startBroker(t, { answer: durable })
  const watcher = await RawClient.connected(t, port)
  t.strictSame(await watcher.subscribe({ 'vital/#': 1 }), [1])
  const session = await RawClient.connected(t, port, { clientId: 'kept', clean: false })
  await session.subscribe({ 'vital/+': 1 })
  session.socket.destroy()
  const client = await RawClient.connected(t, port)
  client.send(publishPacket(1, { qos: 2 }), publishPacket(0, { qos: 0 }))
  await watcher.waitFor('publish', 2)
  t.strictSame(new Set(watcher.of('publish').map(({ qos }) => qos)), new Set([0, 1]))
  const back = await RawClient.connected(t, port, { clientId: 'kept', clean: false })
  await back.waitFor('publish')
  t.strictSame(back.of('publish').map(({ qos }) => qos), [1])
})

t.test('publishes of one turn reach a subscriber in order, retained or not', async (t) => {
  const { port, ingest } = await startBroker(t)
  const session = await RawClient.connected(t, port, { clientId: 'kept', clean: false })
  await session.subscribe({ 'vital/#': 1 })
  const client = await RawClient.connected(t, port)
  const ids = Array.from({ length: 60 }, (_, index) => index + 1)
  client.send(...ids.map((id) => publishPacket(id, { retain: id % 2 === 0, qos: id % 3 === 0 ? 0 : 1 })))
  await until(() => ingest.held.length === ids.length, 'all')
  ingest.settleAll()
  await session.waitFor('publish', ids.length)
  const received = session.of('publish').map(({ payload, qos }) => ({ payload: payload.toString(), qos }))
  for (const qos of [0, 1]) {
    const expected = ids.filter((id) => (id % 3 === 0 ? 0 : 1) === qos).map((id) => `m${id}`)
    t.strictSame(received.filter((message) => message.qos === qos).map(({ payload }) => payload), expected, `QoS ${qos}`)
  }
})

t.test('readings that came over HTTP are fanned out, too', async (t) => {
  const { port, broker, ingest } = await startBroker(t)
  const watcher = await connectClient(t, port)
  const messages: string[] = []
  watcher.on('message', (topic, payload, { retain }) => messages.push(`${topic} ${payload.toString()} ${retain}`))
  await watcher.subscribeAsync('vital/#')
  broker.publish({ topic: 'vital/scale', payload: Buffer.from('{}'), qos: 1 })
  await until(() => messages.length === 1, 'the message')
  t.strictSame(messages, ['vital/scale {} false'])
  t.strictSame(ingest.seen, [])
})

t.test('filters are refused with 0x80: denied, shared, too deep, too long, too many', async (t) => {
  const { port, broker } = await startBroker(t, {
    deniedFilters: ['test/nosubscribe'], limits: { subscriptionsPerClientMax: 5, filterLengthMax: 50, topicLevelsMax: 10 }
  })
  const client = await RawClient.connected(t, port)
  const deep = 'a/'.repeat(10)
  t.strictSame(await client.subscribe({ 'test/nosubscribe': 2, '$share/group/vital/+': 0, [deep]: 0, ['x'.repeat(51)]: 0, ok: 1 }),
    [128, 128, 128, 128, 1])
  t.strictSame(await client.subscribe({ '$queue/vital/+': 1, '$share/group/a': 1 }), [128, 128],
    'shared subscriptions are not of MQTT 3.1.1')
  t.strictSame(await client.subscribe({ b: 0, c: 0, d: 0, e: 0, f: 0, g: 0 }), [0, 0, 0, 0, 128, 128])
  t.strictSame(await client.subscribe({ ok: 2 }), [2], 'an existing subscription may change')
  client.send({ cmd: 'unsubscribe', messageId: 5, unsubscriptions: ['b', 'never', deep] })
  await client.waitFor('unsuback')
  t.strictSame(await client.subscribe({ f: 0, g: 0 }), [0, 128], 'and an unsubscribed one makes room')
  t.equal(broker.statistics().subscriptions, 5)
  client.socket.destroy()
  await until(() => broker.statistics().subscriptions === 0, 'the count to fall')
})

t.test('no message is queued for a refused filter', async (t) => {
  const { port, broker } = await startBroker(t, { deniedFilters: ['secret'], answer: durable })
  const session = await RawClient.connected(t, port, { clientId: 'curious', clean: false })
  t.strictSame(await session.subscribe({ open: 1, secret: 1 }), [1, 128])
  session.socket.destroy()
  await until(() => broker.statistics().clientsConnected === 0, 'it to go')
  const client = await RawClient.connected(t, port)
  client.send(publishPacket(1, { topic: 'secret' }), publishPacket(2, { topic: 'open' }))
  await client.waitFor('puback', 2)
  const back = await RawClient.connected(t, port, { clientId: 'curious', clean: false })
  await back.waitFor('publish')
  await settleDown()
  t.strictSame(back.messages(), ['open m2'])
})

t.test('statistics under the names of Mosquitto', async (t) => {
  const { port } = await startBroker(t, { limits: { statisticsIntervalMs: 100 } })
  const watcher = await RawClient.connected(t, port)
  await watcher.subscribe({ '$SYS/#': 0 })
  await until(() => watcher.messages().includes('$SYS/broker/clients/connected 1'), 'an update')
  const latest = new Map(watcher.of('publish').map(({ topic, payload }) => [topic, payload.toString()]))
  t.match(latest.get('$SYS/broker/uptime'), /^\d+ seconds$/)
  t.equal(latest.get('$SYS/broker/version'), 'vital-gateway version 1.2.3')
  t.match(latest.get('$SYS/broker/messages/received'), /^\d+$/)
  t.match(latest.get('$SYS/broker/publish/messages/received'), /^0$/)
  await sleep(250)
  t.ok(watcher.of('publish').every(({ topic }) => topic.startsWith('$SYS/broker/')), 'and no topic of Aedes\' own')
  t.ok(watcher.of('publish')[0]!.retain, 'retained')
})

t.test('a filter that is unsubscribed and subscribed again in one segment is subscribed', async (t) => {
  const { port } = await startBroker(t, { answer: durable })
  const device = await RawClient.connected(t, port)
  for (const clean of [true, false]) {
    const watcher = await RawClient.connected(t, port, { clean, clientId: `watcher-${clean}` })
    await watcher.subscribe({ 'vital/band-1': 1 })
    watcher.send({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: ['vital/band-1'] },
      { cmd: 'subscribe', messageId: 3, subscriptions: [{ topic: 'vital/band-1', qos: 1 }] })
    await watcher.waitFor('suback', 2)
    device.send(publishPacket(1))
    await watcher.waitFor('publish')
    t.strictSame(watcher.messages(), ['vital/band-1 m1'])
  }
})
