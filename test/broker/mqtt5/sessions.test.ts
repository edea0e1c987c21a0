/** Sessions, wills and messages of MQTT 5, and those that pass between its versions. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { IConnectPacket, IPublishPacket, ISubscription } from 'mqtt-packet'
import t, { type Test } from 'tap'
import { durable, publishPacket, RawClient, settleDown, startBroker } from '../../helpers/broker.ts'
import { exactly } from '../../helpers/exactly.ts'

const connected = (t: Test, port: number, options: Partial<IConnectPacket> = {}) =>
  RawClient.connected(t, port, { protocolVersion: 5, ...options })

const session = (clientId: string, sessionExpiryInterval: number, clean = false): Partial<IConnectPacket> =>
  ({ clientId, clean, properties: { sessionExpiryInterval } })

const isPresent = (client: RawClient) => client.of('connack')[0]!.sessionPresent

async function leave (client: RawClient): Promise<void> {
  client.send({ cmd: 'disconnect', reasonCode: 0 })
  await client.closed()
}

async function subscribe (client: RawClient, subscriptions: ISubscription[], subscriptionIdentifier?: number): Promise<void> {
  const before = client.of('suback').length
  client.send({
    cmd: 'subscribe', messageId: 1, subscriptions, ...(subscriptionIdentifier !== undefined && { properties: { subscriptionIdentifier } })
  })
  await client.waitFor('suback', before + 1)
}

const will = (delay: number): NonNullable<IConnectPacket['will']> =>
  ({ topic: 'home/will', payload: Buffer.from('gone'), qos: 1, retain: false, properties: { willDelayInterval: delay } })

t.test('a session ends when its expiry is over, and not before', async (t) => {
  const { port } = await startBroker(t, { answer: durable })
  const first = await connected(t, port, session('a', 2))
  t.notOk(isPresent(first))
  await subscribe(first, [{ topic: 'home/#', qos: 1 }])
  await leave(first)
  const publisher = await connected(t, port)
  publisher.send(publishPacket(1, { topic: 'home/lamp', payload: 'queued' }))
  await publisher.waitFor('puback')
  const back = await connected(t, port, session('a', 1))
  t.ok(isPresent(back))
  await back.waitFor('publish')
  t.strictSame(back.messages(), ['home/lamp queued'])
  back.send({ cmd: 'puback', messageId: back.of('publish')[0]!.messageId!, reasonCode: 0 })
  await leave(back)
  await sleep(1700)
  t.notOk(isPresent(await connected(t, port, session('a', 0))))
})

t.test('a session that is resumed with expiry 0 keeps its queue, and ends with the connection', async (t) => {
  const { port } = await startBroker(t, { answer: durable })
  const first = await connected(t, port, session('a', 60))
  await subscribe(first, [{ topic: 'home/#', qos: 1 }])
  await leave(first)
  const publisher = await connected(t, port)
  publisher.send(publishPacket(1, { topic: 'home/lamp' }))
  await publisher.waitFor('puback')
  const back = await connected(t, port, session('a', 0))
  await back.waitFor('publish')
  t.strictSame(back.messages(), ['home/lamp m1'])
  await leave(back)
  t.notOk(isPresent(await connected(t, port, session('a', 0))))
})

t.test('the expiry is bounded, changed by DISCONNECT, and not raised from 0', async (t) => {
  const { port } = await startBroker(t, { answer: durable, limits: { sessionExpiryMs: 100_000 } })
  const first = await connected(t, port, session('a', 0xffffffff))
  t.equal(first.of('connack')[0]!.properties?.sessionExpiryInterval, 100)
  first.send({ cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 0 } })
  await first.closed()
  const second = await connected(t, port, session('a', 0))
  t.notOk(isPresent(second))
  second.send({ cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 10 } })
  await second.closed()
  t.equal(second.of('disconnect')[0]!.reasonCode, 0x82)
})

t.test('a session passes between MQTT 3.1.1 and 5, user properties included', async (t) => {
  const { port } = await startBroker(t, { answer: durable })
  const old = await RawClient.connected(t, port, { clientId: 'a', clean: false })
  await old.subscribe({ 'home/#': 1 })
  old.socket.destroy()
  await old.closed()
  const publisher = await connected(t, port)
  const properties = {
    userProperties: { __proto__x: 'y', a: ['1', '2'] },
    contentType: 'text/plain',
    responseTopic: 'home/answer',
    correlationData: Buffer.from('c')
  }
  publisher.send(publishPacket(1, { topic: 'home/lamp', properties }))
  await publisher.waitFor('puback')
  const back = await connected(t, port, session('a', 60))
  t.ok(isPresent(back))
  await back.waitFor('publish')
  const [message] = back.of('publish')
  t.match(message!.properties, {
    contentType: 'text/plain', responseTopic: 'home/answer', userProperties: { __proto__x: 'y', a: exactly('1', '2') }
  })
  t.same(message!.properties?.correlationData, Buffer.from('c'))
  await leave(back)
  const older = await RawClient.connected(t, port, { clientId: 'a', clean: false })
  await older.waitFor('publish')
  t.strictSame(older.messages(), ['home/lamp m1'], 'not acknowledged yet')
})

t.test('a will waits for its delay, and is dropped when the session is resumed', async (t) => {
  const { port, broker } = await startBroker(t, { answer: durable })
  const watcher = await RawClient.connected(t, port)
  await watcher.subscribe({ 'home/#': 1 })
  const lost = async (options: Partial<IConnectPacket>) => {
    const client = await connected(t, port, options)
    client.socket.destroy()
    await client.closed()
    await settleDown()
  }
  await lost({ ...session('a', 60), will: will(1) })
  t.equal(broker.statistics().delayedWills, 1)
  t.strictSame(watcher.messages(), [])
  const back = await connected(t, port, session('a', 60))
  t.equal(broker.statistics().delayedWills, 0)
  await sleep(1300)
  t.strictSame(watcher.messages(), [])
  await leave(back)
  await lost({ ...session('a', 60), will: will(1) })
  await sleep(1300)
  t.strictSame(watcher.messages(), ['home/will gone'])
  await lost({ ...session('b', 0), will: will(60) })
  t.equal(watcher.messages().length, 2, 'at the end of its session, at the latest')
})

t.test('a will at a takeover: at once where the session has ended, none where it goes on', async (t) => {
  const { port } = await startBroker(t, { answer: durable })
  const watcher = await RawClient.connected(t, port)
  await watcher.subscribe({ 'home/#': 1 })
  const takeover = async (expiry: number, clean: boolean) => {
    const before = watcher.messages().length
    const first = await connected(t, port, { ...session('a', expiry, true), will: will(5) })
    const second = await connected(t, port, session('a', 60, clean))
    await first.closed()
    await settleDown()
    await leave(second)
    return watcher.messages().length - before
  }
  t.equal(await takeover(0, false), 1)
  t.equal(await takeover(60, false), 0)
  t.equal(await takeover(60, true), 1)
})

t.test('DISCONNECT drops the will, and 0x04 asks for it', async (t) => {
  const { port } = await startBroker(t, { answer: durable })
  const watcher = await RawClient.connected(t, port)
  await watcher.subscribe({ 'home/#': 1 })
  for (const reasonCode of [0, 4]) {
    const client = await connected(t, port, { will: will(0) })
    client.send({ cmd: 'disconnect', reasonCode })
    await client.closed()
    await settleDown()
  }
  t.strictSame(watcher.messages(), ['home/will gone'])
})

t.test('a message expires in queues and as retained, and is delivered with the rest of its expiry', async (t) => {
  const { port, broker } = await startBroker(t, { answer: durable })
  const absent = await connected(t, port, session('a', 60))
  await subscribe(absent, [{ topic: 'home/#', qos: 1 }])
  await leave(absent)
  const publisher = await connected(t, port)
  const publish = (id: number, topic: string, messageExpiryInterval: number) =>
    publisher.send(publishPacket(id, { topic, retain: true, properties: { messageExpiryInterval } }))
  publish(1, 'home/short', 1)
  publish(2, 'home/long', 60)
  await publisher.waitFor('puback', 2)
  const { retainedMessages } = broker.statistics()
  await sleep(1400)
  t.equal(broker.statistics().retainedMessages, retainedMessages - 1)
  const back = await connected(t, port, session('a', 60))
  await back.waitFor('publish')
  const late = await connected(t, port)
  await subscribe(late, [{ topic: 'home/#', qos: 0 }])
  await late.waitFor('publish')
  await settleDown()
  for (const client of [back, late]) {
    t.strictSame(client.messages(), ['home/long m2'])
    const left = client.of('publish')[0]!.properties?.messageExpiryInterval ?? 0
    t.ok(left >= 58 && left < 60, `${left}`)
  }
})

t.test('options of subscriptions: no local, retain as published, retain handling, identifiers', async (t) => {
  const { port } = await startBroker(t, { answer: durable })
  const client = await connected(t, port)
  await subscribe(client, [{ topic: 'home/own', qos: 1, nl: true }], 7)
  await subscribe(client, [{ topic: 'home/+', qos: 0, rap: true }], 9)
  const other = await connected(t, port)
  client.send(publishPacket(1, { topic: 'home/own' }))
  other.send(publishPacket(1, { topic: 'home/own', retain: true }))
  await client.waitFor('publish', 2)
  const [own, others] = client.of('publish')
  t.same([own!.qos, own!.properties?.subscriptionIdentifier, own!.retain], [0, 9, false])
  t.same([others!.qos, others!.properties?.subscriptionIdentifier, others!.retain], [1, [7, 9], true])
  const handling = async (rh: 0 | 1 | 2) => {
    const before = client.of('publish').length
    await subscribe(client, [{ topic: 'home/own', qos: 1, rh }])
    await settleDown()
    return client.of('publish').length - before
  }
  t.same([await handling(0), await handling(1), await handling(2)], [1, 0, 0])
  client.send({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: ['home/own', 'nothing'] })
  await client.waitFor('unsuback')
  t.same(client.of('unsuback')[0]!.granted, [0x00, 0x11])
  t.equal(await handling(1), 1, 'a new subscription')
})

t.test('a shared subscription takes turns among the connected members', async (t) => {
  const { port, broker } = await startBroker(t, { answer: durable })
  const members = [await connected(t, port), await connected(t, port)]
  for (const member of members) await subscribe(member, [{ topic: '$share/team/home/#', qos: 1 }])
  const alone = await connected(t, port)
  await subscribe(alone, [{ topic: 'home/#', qos: 1 }])
  t.equal(broker.statistics().sharedSubscriptions, 1)
  const publisher = await connected(t, port)
  const publish = async (count: number) => {
    publisher.send(...Array.from({ length: count }, (_, n) => publishPacket(n + 1, { topic: 'home/lamp' })))
    await settleDown()
  }
  await publish(10)
  t.same(members.map((member) => member.messages().length), [5, 5])
  t.equal(alone.messages().length, 10)
  await leave(members[0]!)
  await publish(4)
  t.equal(members[1]!.messages().length, 9)
  await leave(members[1]!)
  t.equal(broker.statistics().sharedSubscriptions, 0)
  await subscribe(alone, [{ topic: '$queue/home/#', qos: 1 }])
  t.same(alone.of('suback').at(-1)!.granted, [0x8F], 'that of another broker, which would never be served')
})

for (const receiveMaximum of [1, 2, 20]) {
  t.test(`a Receive Maximum of ${receiveMaximum} is never exceeded`, async (t) => {
    const { port } = await startBroker(t, { answer: durable })
    const client = await connected(t, port, { properties: { receiveMaximum } })
    await subscribe(client, [{ topic: 'home/#', qos: 2 }])
    const publisher = await connected(t, port)
    publisher.send(...Array.from({ length: 50 }, (_, n) => publishPacket(n + 1, { topic: 'home/lamp', qos: (n % 2 + 1) as 1 | 2 })))
    for (let done = 0; done < 50;) {
      await settleDown()
      const publishes = client.of('publish')
      t.ok(publishes.length - done <= receiveMaximum, `${publishes.length} sent, ${done} done`)
      for (const { qos, messageId } of publishes.slice(done)) {
        if (qos === 1) client.send({ cmd: 'puback', messageId: messageId!, reasonCode: 0 })
        else client.send({ cmd: 'pubrec', messageId: messageId!, reasonCode: 0 }, { cmd: 'pubcomp', messageId: messageId!, reasonCode: 0 })
      }
      done = publishes.length
    }
    t.equal(client.messages().length, 50)
  })
}

t.test('topic aliases in both directions', async (t) => {
  const { port, broker } = await startBroker(t, { answer: durable, limits: { topicAliasesPerClientMax: 2 } })
  const watcher = await connected(t, port, { properties: { topicAliasMaximum: 1 } })
  await subscribe(watcher, [{ topic: '#', qos: 0 }])
  const device = await connected(t, port)
  t.equal(device.of('connack')[0]!.properties?.topicAliasMaximum, 2)
  const alias = (id: number, topic: string, topicAlias: number): IPublishPacket => publishPacket(id, { topic, properties: { topicAlias } })
  device.send(alias(1, 'vital/band-1', 1), alias(2, '', 1), alias(3, 'vital/band-2', 1), alias(4, '', 1))
  await device.waitFor('puback', 4)
  await watcher.waitFor('publish', 4)
  t.same(watcher.of('publish').map(({ topic, properties }) => [topic, properties?.topicAlias]),
    [['vital/band-1', 1], ['', 1], ['vital/band-2', undefined], ['vital/band-2', undefined]])
  t.equal(broker.statistics().topicAliases, 2)
  device.send(alias(5, '', 2))
  await device.closed()
  t.equal(device.of('disconnect')[0]!.reasonCode, 0x82, 'an alias without a topic')
  t.equal(broker.statistics().topicAliases, 1)
  t.equal(broker.statistics().limitHits.get('topic_alias'), 1)
})

t.test('a delivery over the client\'s Maximum Packet Size is dropped, and the next one comes', async (t) => {
  const { port, broker } = await startBroker(t, { answer: durable })
  const client = await connected(t, port, { properties: { maximumPacketSize: 100, receiveMaximum: 1 } })
  await subscribe(client, [{ topic: 'home/#', qos: 1 }])
  const publisher = await connected(t, port)
  publisher.send(publishPacket(1, { topic: 'home/a', payload: 'x'.repeat(200) }), publishPacket(2, { topic: 'home/a' }))
  await client.waitFor('publish')
  t.strictSame(client.messages(), ['home/a m2'])
  t.equal(broker.statistics().limitHits.get('delivery_bytes'), 1)
})
