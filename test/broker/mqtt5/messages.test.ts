/** Messages of MQTT 5: their properties, their expiry, and their limits. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { IConnectPacket, IPublishPacket } from 'mqtt-packet'
import t, { type Test } from 'tap'
import { connectPacket, durable, publishPacket, RawClient, settleDown, startBroker } from '../../helpers/broker.ts'
import { exactly } from '../../helpers/exactly.ts'
import { counted, field, join, packet } from '../../helpers/mqtt-bytes.ts'
import { until } from '../../helpers/until.ts'

const connected = (t: Test, port: number, options: Partial<IConnectPacket> = {}) =>
  RawClient.connected(t, port, { protocolVersion: 5, ...options })

const session = (clientId: string, sessionExpiryInterval = 60): Partial<IConnectPacket> =>
  ({ clientId, clean: false, properties: { sessionExpiryInterval } })

async function leave (client: RawClient): Promise<void> {
  client.send({ cmd: 'disconnect', reasonCode: 0 })
  await client.closed()
}

async function publish (client: RawClient, messageId: number, options: Partial<IPublishPacket>): Promise<void> {
  const before = client.of('puback').length
  client.send(publishPacket(messageId, options))
  await client.waitFor('puback', before + 1)
}

const userProperty = (name: string, value: string) => join([[0x26], field(name), field(value)])

/** User properties with repeated names, a name of Object.prototype, and an order that an object would not keep. */
const PROPERTIES = join([
  userProperty('b', '1'), userProperty('a', '2'), userProperty('b', '3'), userProperty('__proto__', 'x'), userProperty('', ''),
  userProperty('2', 'y'), userProperty('1', 'z'), userProperty('b', '1')
])

/** How often the bytes of PROPERTIES came. */
const countProperties = (bytes: Buffer[]) => Buffer.concat(bytes).toString('latin1').split(PROPERTIES.toString('latin1')).length - 1

t.test('user properties stay as they are and in order: live, retained, queued, in a will, and across a takeover of 3.1.1', async (t) => {
  const { port } = await startBroker(t, { answer: durable })
  const listen = (client: RawClient) => {
    const bytes: Buffer[] = []
    client.socket.on('data', (chunk: Buffer) => { bytes.push(chunk) })
    return bytes
  }
  const publishBytes = (topic: string, id: number, flags: number) =>
    packet(0x32 | flags, field(topic), [0, id], counted(PROPERTIES), Buffer.from('m'))
  const old = await RawClient.connected(t, port, { clientId: 'absent', clean: false })
  await old.subscribe({ 'home/live': 1 })
  await leave(old)
  const watcher = await connected(t, port)
  const live = listen(watcher)
  await watcher.subscribe({ 'home/#': 2 })
  const dying = await RawClient.open(t, port, 5)
  dying.socket.write(packet(0x10, field('MQTT'), [5, 0x06, 0, 0, 0], field('dying'), counted(PROPERTIES), field('home/will'), field('m')))
  await dying.waitFor('connack')
  const publisher = await connected(t, port)
  publisher.socket.write(join([publishBytes('home/live', 1, 0), publishBytes('home/kept', 2, 1)]))
  await publisher.waitFor('puback', 2)
  dying.socket.destroy()
  await watcher.waitFor('publish', 3)
  t.equal(countProperties(live), 3, 'live, and a will')
  const late = await connected(t, port)
  const retained = listen(late)
  await late.subscribe({ 'home/kept': 0 })
  await late.waitFor('publish')
  t.equal(countProperties(retained), 1, 'retained')
  const back = await RawClient.open(t, port, 5)
  const queued = listen(back)
  back.send(connectPacket({ protocolVersion: 5, ...session('absent') }))
  await back.waitFor('publish')
  t.equal(countProperties(queued), 1, 'queued in a session of 3.1.1')
})

t.test('expiry does not cut an exchange that has begun', async (t) => {
  const { port } = await startBroker(t, { answer: durable })
  const properties = { messageExpiryInterval: 1 }
  const subscriber = await connected(t, port, session('a'))
  await subscriber.subscribe({ 'home/#': 2 })
  const publisher = await connected(t, port)
  await publish(publisher, 1, { topic: 'home/one', properties })
  publisher.send(publishPacket(2, { topic: 'home/two', qos: 2, properties }))
  await subscriber.waitFor('publish', 2)
  const [, two] = subscriber.of('publish')
  await sleep(1300)
  publisher.send({ cmd: 'pubrel', messageId: 2, reasonCode: 0 })
  await publisher.waitFor('pubcomp')
  t.equal(publisher.of('pubcomp')[0]!.reasonCode, 0)
  subscriber.send({ cmd: 'pubrec', messageId: two!.messageId!, reasonCode: 0 })
  await subscriber.waitFor('pubrel')
  t.equal(subscriber.of('pubrel')[0]!.reasonCode, 0)
  subscriber.socket.destroy()
  const back = await connected(t, port, session('a'))
  await back.waitFor('publish')
  await back.waitFor('pubrel')
  t.match(back.of('publish'), exactly({ topic: 'home/one', dup: true, qos: 1 }), 'a message that was sent is sent again')
  back.send({ cmd: 'puback', messageId: back.of('publish')[0]!.messageId!, reasonCode: 0 },
    { cmd: 'pubcomp', messageId: back.of('pubrel')[0]!.messageId!, reasonCode: 0 })
  await leave(back)
  const again = await connected(t, port, session('a'))
  await settleDown()
  t.strictSame([again.of('publish'), again.of('pubrel')], [[], []], 'and done')
})

t.test('a client of 3.1.1 that is taken over leaves its will at once', async (t) => {
  const { port } = await startBroker(t, { answer: durable })
  const watcher = await connected(t, port)
  await watcher.subscribe({ 'home/#': 1 })
  for (const [count, clean] of [true, false].entries()) {
    const will = { topic: 'home/will', payload: Buffer.from('gone'), qos: 1, retain: false } as const
    const old = await RawClient.connected(t, port, { clientId: 'a', clean, will })
    const heir = await connected(t, port, session('a'))
    await old.closed()
    await watcher.waitFor('publish', count + 1)
    await leave(heir)
  }
  await settleDown()
  t.equal(watcher.messages().length, 2)
})

t.test('Server Keep Alive is sent and enforced', async (t) => {
  const { port } = await startBroker(t, { limits: { keepaliveSecondsMax: 1 } })
  for (const keepalive of [0, 60]) {
    const client = await connected(t, port, { keepalive })
    const beganMs = performance.now()
    t.equal(client.of('connack')[0]!.properties?.serverKeepAlive, 1)
    await client.closed()
    const tookMs = performance.now() - beganMs
    t.ok(tookMs > 1400, `not before 1.5 times the keep alive: ${tookMs} ms`)
    t.equal(client.of('disconnect')[0]!.reasonCode, 0x8d)
  }
})

t.test('aliases are bounded and counted, and the log names the client of a wrong one', async (t) => {
  const { port, broker, log } = await startBroker(t, { answer: durable, limits: { topicAliasesPerClientMax: 2 } })
  const wrong = [[3, 'vital/band', 0x94], [0, 'vital/band', 0x94], [1, '', 0x82]] as const
  for (const [alias, topic, code] of wrong) {
    const device = await connected(t, port, { clientId: `device-${alias}` })
    device.socket.write(packet(0x32, field(topic), [0, 1], counted([0x23, 0, alias]), Buffer.from('m')))
    await device.closed()
    t.strictSame(device.of('disconnect').map(({ reasonCode }) => reasonCode), [code], `alias ${alias}`)
  }
  t.equal(broker.statistics().limitHits.get('topic_alias'), 3)
  const [first] = log.filter(({ violation }) => violation === 'topic_alias')
  t.equal(first?.['clientId'], 'device-3', 'further ones are not logged for a while')
})

t.test('wills that wait, and shared subscriptions, are bounded and counted', async (t) => {
  const { port, broker } = await startBroker(t, { answer: durable, limits: { delayedWillsMax: 1, subscriptionsPerClientMax: 2 } })
  const watcher = await connected(t, port)
  await watcher.subscribe({ 'home/#': 1 })
  for (const clientId of ['a', 'b']) {
    const client = await connected(t, port, {
      ...session(clientId),
      will: { topic: `home/${clientId}`, payload: Buffer.from('gone'), qos: 1, retain: false, properties: { willDelayInterval: 60 } }
    })
    client.socket.destroy()
    await until(() => broker.statistics().delayedWills === 1, 'it to wait')
  }
  await watcher.waitFor('publish')
  t.strictSame(watcher.messages(), ['home/b gone'], 'one beyond the bound is published at once')
  t.equal(broker.statistics().limitHits.get('delayed_wills'), 1)
  const member = await connected(t, port)
  const filters = ['$share/a/x', '$share/b/x', '$share/c/x'].map((topic) => ({ topic, qos: 1 as const }))
  member.send({ cmd: 'subscribe', messageId: 1, subscriptions: filters })
  await member.waitFor('suback')
  t.strictSame(member.of('suback')[0]!.granted, [1, 1, 0x97])
  t.equal(broker.statistics().sharedSubscriptions, 2)
  t.equal(broker.statistics().limitHits.get('subscriptions_per_client'), 1)
})
