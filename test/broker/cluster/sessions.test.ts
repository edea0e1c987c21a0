/** Sessions that go from one gateway to another. */
import t, { type Test } from 'tap'
import { TRANSFER } from '../../../broker/cluster/scripts.ts'
import type { IConnectPacket } from 'mqtt-packet'
import { publishPacket, RawClient, settleDown } from '../../helpers/broker.ts'
import { NO_REDIS, startCable, startClustered, startRedis } from '../../helpers/redis.ts'
import { until } from '../../helpers/until.ts'

type Version = 4 | 5

const persistent = (protocolVersion: Version, clientId: string): Partial<IConnectPacket> => ({
  protocolVersion, clientId, clean: false, ...(protocolVersion === 5 && { properties: { sessionExpiryInterval: 3600 } })
})

const isPresent = (client: RawClient) => client.of('connack')[0]!.sessionPresent

async function leave (client: RawClient): Promise<void> {
  client.send({ cmd: 'disconnect' })
  client.socket.end()
  await client.closed()
}

/** Publishes texts at QoS 1, and waits for their acknowledgements. */
async function publish (client: RawClient, topic: string, texts: readonly string[], qos: 1 | 2 = 1): Promise<void> {
  const before = client.of(qos === 1 ? 'puback' : 'pubrec').length
  client.send(...texts.map((payload, index) => publishPacket(before + index + 1, { topic, payload, qos })))
  await client.waitFor(qos === 1 ? 'puback' : 'pubrec', before + texts.length)
}

function acknowledge (client: RawClient): void {
  for (const { qos, messageId } of client.of('publish')) {
    if (qos === 1) client.send({ cmd: 'puback', messageId: messageId! })
    else if (qos === 2) client.send({ cmd: 'pubrec', messageId: messageId! })
  }
}

const texts = (name: string, count: number) => Array.from({ length: count }, (_, index) => `${name}${index}`)
const payloads = (client: RawClient) => client.of('publish').map(({ payload }) => payload.toString())

async function startTwo (t: Test) {
  const redis = await startRedis(t)
  const [a, b] = [await startClustered(t, redis.url), await startClustered(t, redis.url)]
  return { redis, a, b }
}

for (const version of [4, 5] as const) {
  t.test(`MQTT ${version}: SUBACK comes once Redis has the subscription of a persistent session`, { skip: NO_REDIS }, async (t) => {
    const redis = await startRedis(t)
    const { port } = await startClustered(t, redis.url, { clusterLimits: { saveDelayMs: 60_000 } })
    // This gateway already subscribes to the second filter, so the others are not told of it.
    for (const clientId of ['one', 'two']) {
      const client = await RawClient.connected(t, port, persistent(version, clientId))
      await client.subscribe({ 'home/#': 1 })
      t.match(await redis.client.hget(`vital:client:${clientId}`, 'm'), 'home/#', clientId)
    }
  })

  t.test(`MQTT ${version}: a session is resumed at the other gateway, with its queue in order`, { skip: NO_REDIS }, async (t) => {
    const { a, b } = await startTwo(t)
    const first = await RawClient.connected(t, a.port, persistent(version, 'lk'))
    t.notOk(isPresent(first))
    t.strictSame(await first.subscribe({ 'home/#': 1 }), [1])
    await leave(first)
    const [publisherA, publisherB] = [await RawClient.connected(t, a.port), await RawClient.connected(t, b.port)]
    await publish(publisherA, 'home/a', texts('a', 20))
    await publish(publisherB, 'home/b', texts('b', 20))
    const back = await RawClient.connected(t, b.port, persistent(version, 'lk'))
    t.ok(isPresent(back), 'the other gateway says that the session is present')
    await back.waitFor('publish', 40)
    t.strictSame(payloads(back).filter((text) => text.startsWith('a')), texts('a', 20))
    t.strictSame(payloads(back).filter((text) => text.startsWith('b')), texts('b', 20))
    acknowledge(back)
    await publish(publisherA, 'home/a', ['later'])
    await back.waitFor('publish', 41)
    t.equal(payloads(back).at(-1), 'later', 'messages published at the first gateway follow the session')
  })

  t.test(`MQTT ${version}: a client that connects to the other gateway is closed at the first`, { skip: NO_REDIS }, async (t) => {
    const { redis, a, b } = await startTwo(t)
    const first = await RawClient.connected(t, a.port, persistent(version, 'lk'))
    await first.subscribe({ 'home/#': 1 })
    const second = await RawClient.connected(t, b.port, persistent(version, 'lk'))
    await first.closed()
    if (version === 5) t.equal(first.of('disconnect')[0]!.reasonCode, 0x8e)
    t.ok(isPresent(second))
    t.equal(a.broker.statistics().sessions, 0)
    t.equal(b.broker.statistics().sessions, 1)
    const clean = await RawClient.connected(t, a.port, { protocolVersion: version, clientId: 'lk', clean: true })
    await second.closed()
    t.notOk(isPresent(clean), 'a clean start ends the session')
    await until(() => b.broker.statistics().sessions === 0)
    await leave(clean)
    await until(async () => await redis.client.exists('vital:client:lk') === 0, 'nothing of the session to be left')
  })
}

t.test('a message that was sent and not acknowledged is sent again by the other gateway, under ' +
  'its packet id', { skip: NO_REDIS }, async (t) => {
  const { a, b } = await startTwo(t)
  const first = await RawClient.connected(t, a.port, persistent(4, 'lk'))
  await first.subscribe({ 'home/#': 2 })
  const publisher = await RawClient.connected(t, b.port)
  await publish(publisher, 'home/a', texts('m', 3))
  await publish(publisher, 'home/a', texts('x', 3), 2)
  await first.waitFor('publish', 6)
  const ids = first.of('publish').map(({ messageId }) => messageId)
  // For the first message of QoS 2 only PUBREL is left to send.
  first.send({ cmd: 'puback', messageId: ids[0]! }, { cmd: 'pubrec', messageId: ids[3]! })
  await first.waitFor('pubrel')
  const back = await RawClient.connected(t, b.port, persistent(4, 'lk'))
  await back.waitFor('publish', 4)
  await back.waitFor('pubrel')
  t.strictSame(back.of('publish').map(({ messageId, dup, payload }) => [messageId, dup, payload.toString()]), [
    [ids[1], true, 'm1'], [ids[2], true, 'm2'], [ids[4], true, 'x1'], [ids[5], true, 'x2']
  ])
  t.equal(back.of('pubrel')[0]!.messageId, ids[3])
})

t.test('a QoS 2 publish that is sent again to the other gateway is not delivered twice', { skip: NO_REDIS }, async (t) => {
  const { a, b } = await startTwo(t)
  const watcher = await RawClient.connected(t, b.port)
  await watcher.subscribe({ 'home/#': 0 })
  const first = await RawClient.connected(t, a.port, persistent(4, 'lk'))
  await publish(first, 'home/a', ['once'], 2)
  const back = await RawClient.connected(t, b.port, persistent(4, 'lk'))
  await publish(back, 'home/a', ['once'], 2)
  await publish(back, 'home/a', ['end'])
  await until(() => payloads(watcher).includes('end'))
  t.strictSame(payloads(watcher), ['once', 'end'])
})

for (const isBackFirst of [false, true]) {
  const when = isBackFirst ? 'while it is at the other gateway' : 'before it is at the other gateway'
  t.test(`a QoS 2 publish whose client has gone, and that is stored ${when}, is not delivered twice`, { skip: NO_REDIS }, async (t) => {
    const { a, b } = await startTwo(t)
    const watcher = await RawClient.connected(t, b.port)
    await watcher.subscribe({ 'vital/#': 1 })
    const first = await RawClient.connected(t, a.port, persistent(4, 'lk'))
    a.ingest.answer = null
    first.send(publishPacket(1, { topic: 'vital/x', payload: '{"once":1}', qos: 2 }))
    await until(() => a.ingest.held.length === 1)
    first.socket.destroy()
    await until(() => a.broker.statistics().clientsConnected === 0)
    const connect = () => RawClient.connected(t, b.port, persistent(4, 'lk'))
    const early = isBackFirst ? await connect() : null
    a.ingest.settleAll()
    await settleDown()
    const back = early ?? await connect()
    back.send(publishPacket(1, { topic: 'vital/x', payload: '{"once":1}', qos: 2, dup: true }))
    await back.waitFor('pubrec')
    await publish(back, 'vital/x', ['end'])
    await until(() => payloads(watcher).includes('end'))
    t.strictSame(payloads(watcher), ['{"once":1}', 'end'])
  })
}

t.test('messages published while a session moves are in it once, in the order of each publisher', { skip: NO_REDIS }, async (t) => {
  const { a, b } = await startTwo(t)
  const brokers = [a, b]
  const publishers = [await RawClient.connected(t, a.port), await RawClient.connected(t, b.port)]
  let subscriber = await RawClient.connected(t, a.port, persistent(4, 'lk'))
  await subscriber.subscribe({ 'home/#': 1 })
  const sent = [0, 0]
  for (let round = 0; round < 12; round++) {
    const move = { isOver: false }
    const next = RawClient.connected(t, brokers[(round + 1) % 2]!.port, persistent(4, 'lk')).finally(() => { move.isOver = true })
    // While the session is under way, at both gateways.
    await Promise.all(publishers.map(async (publisher, index) => {
      do {
        await publish(publisher, 'home/x', Array.from({ length: 3 }, () => `${index}-${sent[index]!++}`))
      } while (!move.isOver)
    }))
    await subscriber.closed()
    subscriber = await next
    t.ok(isPresent(subscriber))
  }
  await until(() => [0, 1].every((index) => payloads(subscriber).includes(`${index}-${sent[index]! - 1}`)))
  for (const index of [0, 1]) {
    const of = payloads(subscriber).filter((text) => text.startsWith(`${index}-`))
    t.strictSame(of, texts(`${index}-`, sent[index]!), `publisher ${index}: no delivery was acknowledged, so all messages are in the queue`)
  }
})

t.test('a client that comes back while its session is handed over waits until Redis says which ' +
  'gateway owns it', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const cable = await startCable(t, redis.port)
  const [a, b] = [await startClustered(t, cable.url), await startClustered(t, redis.url)]
  const first = await RawClient.connected(t, a.port, persistent(4, 'lk'))
  await first.subscribe({ 'home/#': 1 })
  const publisher = await RawClient.connected(t, b.port)
  await publish(publisher, 'home/x', ['one'])
  await until(() => payloads(first).length === 1)
  acknowledge(first)
  cable.holdAnswerTo((command) => command.includes(TRANSFER))
  // Its connection closes again, because its client is back at the first gateway.
  const elsewhere = RawClient.connected(t, b.port, persistent(4, 'lk')).catch(() => {})
  await until(() => cable.isHolding)
  const back = RawClient.connected(t, a.port, persistent(4, 'lk'))
  await settleDown()
  cable.letGo()
  const client = await back
  await elsewhere
  await publish(publisher, 'home/x', ['two'])
  await until(() => payloads(client).includes('two'))
})

for (const where of ['there', 'here'] as const) {
  t.test(`a QoS 2 publish ${where} is fanned out once a session on its way from here has arrived there`, { skip: NO_REDIS }, async (t) => {
    const redis = await startRedis(t)
    const cable = await startCable(t, redis.port)
    const [here, there] = [await startClustered(t, cable.url), await startClustered(t, redis.url)]
    const first = await RawClient.connected(t, here.port, persistent(4, 'lk'))
    await first.subscribe({ 'home/#': 2 })
    const { port } = { here, there }[where]
    const [watcher, publisher] = [await RawClient.connected(t, port), await RawClient.connected(t, port)]
    await watcher.subscribe({ 'home/#': 0 })
    cable.holdAnswerTo((command) => command.includes(TRANSFER))
    const arriving = RawClient.connected(t, there.port, persistent(4, 'lk'))
    await until(() => cable.isHolding)
    publisher.send(publishPacket(1, { topic: 'home/x', payload: 'one', qos: 2 }))
    await settleDown()
    t.same(payloads(watcher), [], 'its packet id must not be in Redis before the session has the message')
    cable.letGo()
    await publisher.waitFor('pubrec')
    const session = await arriving
    await until(() => payloads(session).includes('one'))
    t.same(payloads(watcher), ['one'])
  })
}

t.test('a session that is on its way while Redis is killed and started again arrives with its queue', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const cable = await startCable(t, redis.port)
  const patient = { clusterLimits: { leaseMs: 5000, renewIntervalMs: 1000, commandTimeoutMs: 2000 } }
  const [a, b] = [await startClustered(t, redis.url, patient), await startClustered(t, cable.url, patient)]
  const first = await RawClient.connected(t, a.port, persistent(4, 'lk'))
  await first.subscribe({ 'home/#': 1 })
  await leave(first)
  await publish(await RawClient.connected(t, a.port), 'home/x', ['one', 'two'])
  cable.holdAnswerTo((command) => /hgetall[^]*vital:client:lk/i.test(command))
  const arriving = RawClient.connected(t, b.port, persistent(4, 'lk'))
  await until(() => cable.isHolding)
  await redis.kill()
  cable.cut()
  await redis.start()
  cable.mend()
  const session = await arriving
  t.ok(isPresent(session))
  await until(() => payloads(session).length === 2)
  t.strictSame(payloads(session), ['one', 'two'])
})

t.test('a session that is asked for twice, because its gateway is slow, misses no message', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const cable = await startCable(t, redis.port)
  const clusterLimits = { leaseMs: 60_000, renewIntervalMs: 60_000, commandTimeoutMs: 10_000 }
  const a = await startClustered(t, cable.url, { clusterLimits })
  const [b, c] = [await startClustered(t, redis.url, { clusterLimits }), await startClustered(t, redis.url, { clusterLimits })]
  const first = await RawClient.connected(t, a.port, persistent(4, 'nurse'))
  await first.subscribe({ 'home/#': 1 })
  await leave(first)
  const publisher = await RawClient.connected(t, c.port)
  await publish(publisher, 'home/x', texts('before', 3))
  // From here on the first gateway writes nothing. It is about to be asked for the session.
  cable.holdAnswerTo((sent) => sent.includes('"t":"known"'))
  const back = await RawClient.open(t, b.port)
  const connack = back.connect(persistent(4, 'nurse'))
  await until(() => cable.isHolding, 'the subscriptions to be sent')
  const asked = () => b.log.filter(({ msg }) => msg === 'a client is claimed').length
  for (let sent = 0; asked() < 2; sent++) {
    publisher.send(publishPacket(100 + sent, { topic: 'home/x', payload: `amid${sent}` }))
    await publisher.waitFor('puback', 4 + sent)
  }
  const sent = publisher.of('puback').length - 3
  cable.letGo()
  t.match(await connack, { returnCode: 0, sessionPresent: true })
  await publish(publisher, 'home/x', ['end'])
  await until(() => payloads(back).includes('end'))
  t.strictSame(payloads(back), [...texts('before', 3), ...texts('amid', sent), 'end'])
})
