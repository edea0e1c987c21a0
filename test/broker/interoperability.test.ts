/** The ten cases of Eclipse Paho's interoperability suite for MQTT 3.1.1, written anew. */
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { connectPacket, durable, publishPacket, RawClient, settleDown, startBroker } from '../helpers/broker.ts'
import { until } from '../helpers/until.ts'

const TOPICS = ['TopicA', 'TopicA/B', 'Topic/C', 'TopicA/C', '/TopicA'] as const

const start = (t: Test) => startBroker(t, { answer: durable, deniedFilters: ['test/nosubscribe'] })

/** Completes the QoS 2 handshake of a publish. */
async function publishTwice (client: RawClient, messageId: number, topic: string, options = {}): Promise<void> {
  const [received, completed] = [client.of('pubrec').length, client.of('pubcomp').length]
  client.send(publishPacket(messageId, { topic, qos: 2, ...options }))
  await client.waitFor('pubrec', received + 1)
  client.send({ cmd: 'pubrel', messageId })
  await client.waitFor('pubcomp', completed + 1)
}

t.test('basic', async (t) => {
  const { port } = await start(t)
  const client = await RawClient.connected(t, port, { clientId: 'myclientid' })
  t.strictSame(await client.subscribe({ [TOPICS[0]]: 2 }), [2])
  client.send(publishPacket(0, { topic: TOPICS[0], qos: 0 }), publishPacket(1, { topic: TOPICS[0] }))
  await publishTwice(client, 2, TOPICS[0])
  await client.waitFor('publish', 3)
  t.strictSame(client.of('publish').map(({ qos }) => qos).sort(), [0, 1, 2])
  client.send(connectPacket({ clientId: 'myclientid' }))
  await client.closed()
  const odd = await RawClient.open(t, port)
  odd.send(connectPacket({ protocolId: 'hj' } as never))
  await odd.closed()
  t.strictSame(odd.packets, [], 'a wrong protocol name gets no CONNACK')
})

t.test('retained messages', async (t) => {
  const { port } = await start(t)
  const client = await RawClient.connected(t, port)
  const retain = true
  client.send(publishPacket(0, { topic: TOPICS[1], qos: 0, retain }), publishPacket(1, { topic: TOPICS[2], qos: 1, retain }))
  await publishTwice(client, 2, TOPICS[3], { retain })
  await client.subscribe({ '+/+': 2 })
  await client.waitFor('publish', 3)
  t.strictSame(client.of('publish').map(({ topic, retain, qos }) => `${topic} ${qos} ${retain}`).sort(),
    ['Topic/C 1 true', 'TopicA/B 0 true', 'TopicA/C 2 true'])
  const empty = { payload: '', retain } as const
  client.send(publishPacket(0, { topic: TOPICS[1], qos: 0, ...empty }), publishPacket(1, { topic: TOPICS[2], ...empty }))
  await publishTwice(client, 2, TOPICS[3], empty)
  const late = await RawClient.connected(t, port)
  await late.subscribe({ '+/+': 2 })
  await settleDown()
  t.strictSame(late.messages(), [])
})

t.test('a client id of zero length', async (t) => {
  const { port } = await start(t)
  const refused = await RawClient.open(t, port)
  refused.socket.write(Buffer.from([0x10, 12, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 0, 0, 0, 0, 0]))
  await refused.waitFor('connack')
  t.equal(refused.of('connack')[0]!.returnCode, 2)
  await RawClient.connected(t, port, { clientId: '' })
})

t.test('messages are queued for an absent session', async (t) => {
  const { port } = await start(t)
  const absent = await RawClient.connected(t, port, { clientId: 'myclientid', clean: false })
  await absent.subscribe({ '+/+': 2 })
  absent.send({ cmd: 'disconnect' })
  await absent.closed()
  const client = await RawClient.connected(t, port)
  client.send(publishPacket(0, { topic: TOPICS[1], qos: 0 }), publishPacket(1, { topic: TOPICS[2] }))
  await publishTwice(client, 2, TOPICS[3])
  await client.waitFor('puback')
  const back = await RawClient.connected(t, port, { clientId: 'myclientid', clean: false })
  await back.waitFor('publish', 2)
  t.strictSame(back.messages().sort(), ['Topic/C m1', 'TopicA/C m2'])
})

t.test('wills and keepalive', async (t) => {
  const { port } = await start(t)
  const watcher = await RawClient.connected(t, port)
  await watcher.subscribe({ [TOPICS[4]]: 2 })
  const will = { topic: TOPICS[4], payload: Buffer.from('keepalive expiry'), qos: 0, retain: false } as const
  const silent = await RawClient.connected(t, port, { keepalive: 1, will })
  const polite = await RawClient.connected(t, port, { will })
  polite.send({ cmd: 'disconnect' })
  await polite.closed()
  await silent.closed()
  await watcher.waitFor('publish')
  await settleDown()
  t.strictSame(watcher.messages(), ['/TopicA keepalive expiry'])
})

t.test('overlapping subscriptions', async (t) => {
  const { port } = await start(t)
  const client = await RawClient.connected(t, port)
  t.strictSame(await client.subscribe({ '+/C': 2, 'TopicA/#': 1 }), [2, 1])
  await publishTwice(client, 3, TOPICS[3])
  await client.waitFor('publish')
  await settleDown()
  t.equal(client.of('publish').length, 1, 'one message, as the specification allows')
})

t.test('redelivery on reconnect', async (t) => {
  const { port } = await start(t)
  const session = await RawClient.connected(t, port, { clientId: 'myclientid2', clean: false })
  await session.subscribe({ '+/+': 2 })
  const client = await RawClient.connected(t, port)
  client.send(publishPacket(1, { topic: TOPICS[1] }))
  await publishTwice(client, 2, TOPICS[3])
  await session.waitFor('publish', 2)
  session.socket.destroy()
  const back = await RawClient.connected(t, port, { clientId: 'myclientid2', clean: false })
  await back.waitFor('publish', 2)
  t.strictSame(back.of('publish').map(({ qos, dup }) => `${qos} ${dup}`).sort(), ['1 true', '2 true'])
})

t.test('a subscription that is refused', async (t) => {
  const { port } = await start(t)
  const client = await RawClient.connected(t, port)
  t.strictSame(await client.subscribe({ 'test/nosubscribe': 2 }), [0x80])
})

t.test('wildcards do not match topics that begin with $', async (t) => {
  const { port } = await start(t)
  const client = await RawClient.connected(t, port)
  await client.subscribe({ '+/+': 2, '#': 2 })
  client.send(publishPacket(1, { topic: '$TopicA', retain: true }), publishPacket(2, { topic: '$TopicA/B' }))
  await client.waitFor('puback', 2)
  await client.subscribe({ '#': 1 })
  await settleDown()
  t.strictSame(client.messages(), [])
  await client.subscribe({ '$TopicA/#': 1 })
  await client.waitFor('publish')
})

t.test('unsubscribe', async (t) => {
  const { port } = await start(t)
  const client = await RawClient.connected(t, port)
  await client.subscribe({ [TOPICS[0]]: 2, [TOPICS[1]]: 2, [TOPICS[2]]: 2 })
  client.send({ cmd: 'unsubscribe', messageId: 9, unsubscriptions: [TOPICS[0]] })
  await client.waitFor('unsuback')
  client.send(...TOPICS.slice(0, 3).map((topic, index) => publishPacket(index + 1, { topic })))
  await until(() => client.of('publish').length === 2, 'two messages')
  await sleep(50)
  t.strictSame(client.messages(), ['TopicA/B m2', 'Topic/C m3'])
})
