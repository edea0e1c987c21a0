import t from 'tap'
import { durable, publishPacket, RawClient, settleDown, startBroker, type TestBroker } from '../../helpers/broker.ts'
import { until } from '../../helpers/until.ts'

const leave = async ({ broker }: TestBroker, client: RawClient) => {
  const { clientsConnected } = broker.statistics()
  client.socket.destroy()
  await until(() => broker.statistics().clientsConnected === clientsConnected - 1, 'the client to go')
}

t.test('retained messages are bounded in number and in bytes, and logged', async (t) => {
  const { port, broker, log } = await startBroker(t, { answer: durable, limits: { retainedMessagesMax: 15, retainedBytesMax: 30_000 } })
  const own = broker.statistics().retainedMessages
  const client = await RawClient.connected(t, port)
  const watcher = await RawClient.connected(t, port)
  await watcher.subscribe({ '#': 1 })
  const send = async (...packets: Array<ReturnType<typeof publishPacket>>) => {
    const count = client.of('puback').length
    client.send(...packets)
    await client.waitFor('puback', count + packets.length)
    await settleDown()
    return broker.statistics().retainedMessages - own
  }
  const retain = true
  t.equal(await send(...Array.from({ length: 30 }, (_, index) => publishPacket(index + 1, { topic: `vital/d${index}`, retain }))), 15 - own)
  t.equal(broker.statistics().retainedRefused, 30 - (15 - own))
  t.equal(log.filter(({ msg }) => msg === 'message not retained: the limit is reached').length, 1)
  t.equal(watcher.of('publish').length, 30, 'messages that are not retained are still delivered')
  t.equal(await send(publishPacket(1, { topic: 'vital/d0', retain, payload: 'newer' })), 15 - own, 'an existing one may change')
  t.equal(await send(publishPacket(1, {
    topic: 'vital/d0', retain, payload: ''
  }), publishPacket(2, { topic: 'vital/d20', retain })), 15 - own, 'one that is cleared makes room')
  t.equal(await send(publishPacket(1, {
    topic: 'vital/d20', retain, payload: ''
  }), publishPacket(2, { topic: 'vital/d21', retain, payload: 'x'.repeat(50_000) })), 14 - own, 'bytes')
  t.ok(broker.statistics().retainedBytes < 30_000)
  const late = await RawClient.connected(t, port)
  await late.subscribe({ 'vital/+': 1 })
  await late.waitFor('publish', 14 - own)
  await settleDown()
  t.equal(late.of('publish').length, 14 - own)
})

t.test('messages for an absent session are queued, bounded, redelivered in order and then removed', async (t) => {
  const test = await startBroker(t, { answer: durable, limits: { queuedMessagesPerSessionMax: 5 } })
  const { port, broker } = test
  const session = await RawClient.connected(t, port, { clientId: 'nurse', clean: false })
  await session.subscribe({ 'vital/#': 1, 'vital/+': 2, '+/zero': 0 })
  await leave(test, session)
  const client = await RawClient.connected(t, port)
  client.send(...Array.from({ length: 8 }, (_, index) => publishPacket(index + 1)), publishPacket(0, { qos: 0 }),
    publishPacket(9, { topic: 'x/zero' }))
  await client.waitFor('puback', 9)
  await settleDown()
  t.match(broker.statistics(), { queuedMessages: 5, sessions: 1 })
  t.equal(broker.statistics().limitHits.get('queue'), 3, 'the newest are dropped, overlapping subscriptions or not')
  for (const dup of [false, true]) {
    const back = await RawClient.open(t, port)
    t.ok((await back.connect({ clientId: 'nurse', clean: false })).sessionPresent)
    await back.waitFor('publish', 5)
    t.strictSame(back.messages(), [1, 2, 3, 4, 5].map((id) => `vital/band-1 m${id}`))
    t.ok(back.of('publish').every((packet) => packet.dup === dup), 'MQTT-3.3.1-1')
    if (dup) back.send(...back.of('publish').map(({ messageId }) => ({ cmd: 'puback', messageId: messageId! }) as const))
    await settleDown()
    await leave(test, back)
  }
  t.match(broker.statistics(), { queuedMessages: 0, queuedBytes: 0 })
})

t.test('an online session keeps receiving beyond its queue', async (t) => {
  const test = await startBroker(t, { answer: durable, limits: { queuedMessagesPerSessionMax: 5 } })
  const session = await RawClient.connected(t, test.port, { clientId: 'nurse', clean: false })
  await session.subscribe({ 'vital/#': 2 })
  const client = await RawClient.connected(t, test.port)
  client.send(...Array.from({ length: 20 }, (_, index) => publishPacket(index + 1, { qos: 2 })))
  await session.waitFor('publish', 20)
  session.send(...session.of('publish').map(({ messageId }) => ({ cmd: 'pubrec', messageId: messageId! }) as const))
  await session.waitFor('pubrel', 20)
  await leave(test, session)
  const back = await RawClient.connected(t, test.port, { clientId: 'nurse', clean: false })
  await back.waitFor('pubrel', 5)
  back.send(...back.of('pubrel').map(({ messageId }) => ({ cmd: 'pubcomp', messageId: messageId! }) as const))
  await until(() => test.broker.statistics().queuedMessages === 0, 'the handshakes to end')
  t.equal(back.of('publish').length, 0, 'a message answered by PUBREC is not sent again')
})

t.test('queues share a bound in bytes, and a subscriber that reads gets its messages at the bound too', async (t) => {
  const test = await startBroker(t, { answer: durable, limits: { queuedBytesMax: 20_000 } })
  for (const clientId of ['a', 'b']) {
    const session = await RawClient.connected(t, test.port, { clientId, clean: false })
    await session.subscribe({ '#': 1 })
    await leave(test, session)
  }
  const client = await RawClient.connected(t, test.port)
  client.send(...Array.from({ length: 50 }, (_, index) => publishPacket(index + 1, { payload: 'x'.repeat(1000) })))
  await client.waitFor('puback', 50)
  await settleDown()
  const { queuedBytes, limitHits } = test.broker.statistics()
  t.ok(queuedBytes > 18_000 && queuedBytes <= 20_000, `${queuedBytes}`)
  t.ok(limitHits.get('queue')! > 0)
  const nurse = await RawClient.connected(t, test.port)
  await nurse.subscribe({ '#': 1 })
  client.send(...Array.from({ length: 20 }, (_, index) => publishPacket(index + 51, { payload: `live ${index}` })))
  await nurse.waitFor('publish', 20)
  t.ok(test.broker.statistics().queuedBytes <= 40_000)
})

t.test('a clean session discards the session before it', async (t) => {
  const test = await startBroker(t, { answer: durable })
  const session = await RawClient.connected(t, test.port, { clientId: 'nurse', clean: false })
  await session.subscribe({ '#': 1 })
  await leave(test, session)
  const client = await RawClient.connected(t, test.port)
  client.send(publishPacket(1))
  await client.waitFor('puback')
  await until(() => test.broker.statistics().queuedMessages === 1, 'the queue')
  const clean = await RawClient.open(t, test.port)
  t.notOk((await clean.connect({ clientId: 'nurse' })).sessionPresent)
  t.match(test.broker.statistics(), { queuedMessages: 0, queuedBytes: 0, sessions: 0 })
  await leave(test, clean)
  const back = await RawClient.open(t, test.port)
  t.notOk((await back.connect({ clientId: 'nurse', clean: false })).sessionPresent)
})

t.test('sessions with subscriptions are bounded; devices that only publish are not affected', async (t) => {
  const test = await startBroker(t, { answer: durable, limits: { sessionsMax: 2 } })
  for (const clientId of ['a', 'b']) {
    const session = await RawClient.connected(t, test.port, { clientId, clean: false })
    t.strictSame(await session.subscribe({ x: 1 }), [1])
    await leave(test, session)
  }
  const third = await RawClient.connected(t, test.port, { clientId: 'c', clean: false })
  t.strictSame(await third.subscribe({ x: 1 }), [128])
  third.send(publishPacket(1), publishPacket(2, { qos: 2 }))
  await third.waitFor('puback')
  await third.waitFor('pubrec')
  const first = await RawClient.connected(t, test.port, { clientId: 'a', clean: false })
  t.strictSame(await first.subscribe({ y: 1 }), [1], 'an existing session may grow')
  first.send({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: ['x', 'y'] })
  await first.waitFor('unsuback')
  t.strictSame(await third.subscribe({ x: 1 }), [1], 'and one that unsubscribes makes room')
  t.equal(test.broker.statistics().sessions, 2)
})

t.test('a session expires, a connected one does not', async (t) => {
  const test = await startBroker(t, { answer: durable, limits: { sessionExpiryMs: 100 } })
  const gone = await RawClient.connected(t, test.port, { clientId: 'gone', clean: false })
  const here = await RawClient.connected(t, test.port, { clientId: 'here', clean: false })
  for (const session of [gone, here]) await session.subscribe({ '#': 1 })
  await leave(test, gone)
  await until(() => test.broker.statistics().sessions === 1, 'one to expire')
  await settleDown()
  t.equal(test.broker.statistics().sessions, 1)
  await leave(test, here)
  await until(() => test.broker.statistics().sessions === 0, 'the other')
})

t.test('half-open QoS 2 publishes are bounded per client', async (t) => {
  const test = await startBroker(t, { answer: durable, limits: { inboundQos2PerClientMax: 10 } })
  const client = await RawClient.connected(t, test.port, { clientId: 'greedy', clean: false })
  client.send(...Array.from({ length: 10 }, (_, index) => publishPacket(index + 1, { qos: 2 })))
  await client.waitFor('pubrec', 10)
  client.send({ cmd: 'pubrel', messageId: 1 })
  await client.waitFor('pubcomp')
  client.send(publishPacket(11, { qos: 2 }))
  await client.waitFor('pubrec', 11)
  client.send(publishPacket(12, { qos: 2 }))
  await client.closed()
  const again = await RawClient.connected(t, test.port, { clientId: 'greedy', clean: false })
  again.send(publishPacket(12, { qos: 2 }))
  await again.closed()
})
