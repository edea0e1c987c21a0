/** Messages that are published at one gateway, and subscribed to at another. */
import t, { type Test } from 'tap'
import { publishPacket, RawClient, settleDown } from '../../helpers/broker.ts'
import { NO_REDIS, startClustered, startRedis } from '../../helpers/redis.ts'
import { until } from '../../helpers/until.ts'

async function startThree (t: Test) {
  const redis = await startRedis(t)
  const brokers = [await startClustered(t, redis.url), await startClustered(t, redis.url), await startClustered(t, redis.url)] as const
  return { redis, brokers }
}

const payloads = (client: RawClient) => client.of('publish').map(({ payload }) => payload.toString())
const texts = (name: string, count: number) => Array.from({ length: count }, (_, index) => `${name}${index}`)

t.test('a message that is published after SUBACK reaches the subscriber, wherever both are', { skip: NO_REDIS }, async (t) => {
  const { brokers } = await startThree(t)
  const publishers = await Promise.all(brokers.map(({ port }) => RawClient.connected(t, port)))
  for (const protocolVersion of [4, 5] as const) {
    for (let round = 0; round < 10; round++) {
      const subscriber = await RawClient.connected(t, brokers[round % 3]!.port, { protocolVersion })
      await subscriber.subscribe({ [`vital/d${round}`]: 1, [`other/${round}/#`]: 0 })
      for (const [index, publisher] of publishers.entries()) {
        publisher.send(
          publishPacket(1, { topic: `vital/d${round}`, payload: `v${index}` }),
          publishPacket(0, { topic: `other/${round}/x`, payload: `o${index}`, qos: 0 })
        )
      }
      await subscriber.waitFor('publish', 6)
      t.strictSame(payloads(subscriber).sort(), ['o0', 'o1', 'o2', 'v0', 'v1', 'v2'], `MQTT ${protocolVersion}, round ${round}`)
      subscriber.send({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: [`vital/d${round}`] })
      await subscriber.waitFor('unsuback')
      subscriber.socket.destroy()
    }
  }
})

t.test('ten thousand messages arrive in order, and nothing is written to a gateway without a subscriber', { skip: NO_REDIS }, async (t) => {
  const { redis, brokers: [a, b, c] } = await startThree(t)
  const subscriber = await RawClient.connected(t, b.port)
  await subscriber.subscribe({ 'home/+': 0 })
  const publisher = await RawClient.connected(t, a.port)
  const count = 10_000
  for (let sent = 0; sent < count; sent += 500) {
    publisher.send(...texts('', 500).map((_, index) => publishPacket(index + 1, { topic: 'home/x', payload: `${sent + index}` })))
    await publisher.waitFor('puback', sent + 500)
  }
  await subscriber.waitFor('publish', count)
  t.strictSame(payloads(subscriber), texts('', count))
  t.equal(a.cluster.statistics().sent, count)
  t.equal(c.cluster.statistics().received, 0)
  t.equal(await redis.client.exists(`vital:stream:${b.cluster.name}`), 1)
  await until(async () => await redis.client.xlen(`vital:stream:${b.cluster.name}`) < 100, 'messages that were read to be trimmed')
})

t.test('properties, retain as published, no local and identifiers are those of one gateway', { skip: NO_REDIS }, async (t) => {
  const { brokers: [a, b] } = await startThree(t)
  const subscriber = await RawClient.connected(t, b.port, { protocolVersion: 5, clientId: 'both' })
  subscriber.send({
    cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'home/#', qos: 1, rap: true }], properties: { subscriptionIdentifier: 7 }
  })
  await subscriber.waitFor('suback')
  const publisher = await RawClient.connected(t, a.port, { protocolVersion: 5 })
  const userProperties = { unit: 'bpm' }
  publisher.send(publishPacket(1, {
    topic: 'home/x', payload: 'p', retain: true, properties: { userProperties, contentType: 'text', messageExpiryInterval: 100 }
  }))
  await subscriber.waitFor('publish')
  const [{ properties, retain, qos }] = subscriber.of('publish') as [ReturnType<typeof subscriber.of<'publish'>>[0]]
  t.match(properties, { userProperties: { ...userProperties }, contentType: 'text', subscriptionIdentifier: 7 })
  t.ok(properties!.messageExpiryInterval! <= 100 && properties!.messageExpiryInterval! >= 99)
  t.ok(retain)
  t.equal(qos, 1)
})

t.test('$SYS counts clients, subscriptions and publishes of all gateways', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const limits = { statisticsIntervalMs: 100 }
  const [a, b] = [await startClustered(t, redis.url, { limits }), await startClustered(t, redis.url, { limits })]
  const clients = await Promise.all([a, a, b].map(({ port }) => RawClient.connected(t, port)))
  await clients[0]!.subscribe({ 'home/#': 0 })
  for (const client of clients) {
    client.send(publishPacket(1, { topic: 'home/x', payload: 'p' }))
    await client.waitFor('puback')
  }
  const watcher = await RawClient.connected(t, b.port)
  await watcher.subscribe({ '$SYS/broker/#': 0 })
  const told = (name: string) => watcher.messages().findLast((message) => message.startsWith(`$SYS/broker/${name} `))?.split(' ')[1]
  await until(() => told('clients/connected') === '4' && told('subscriptions/count') === '2')
  await until(() => told('publish/messages/received') === '3')
  t.ok(Number(told('messages/received')) > 3 * 2)
  t.ok(Number(told('bytes/received')) > b.broker.statistics().bytesReceived, 'bytes of both gateways')
  t.equal(b.broker.statistics().clientsConnected, 2, 'metrics are of one gateway')
})

t.test('a shared subscription gets each message once, over all gateways', { skip: NO_REDIS }, async (t) => {
  const { brokers } = await startThree(t)
  const members = await Promise.all(brokers.map(({ port }) => RawClient.connected(t, port, { protocolVersion: 5 })))
  for (const member of members) await member.subscribe({ '$share/ward/home/#': 1 })
  const plain = await RawClient.connected(t, brokers[1].port)
  await plain.subscribe({ 'home/#': 0 })
  const publishers = await Promise.all(brokers.map(({ port }) => RawClient.connected(t, port)))
  for (const [index, publisher] of publishers.entries()) {
    publisher.send(...texts(`${index}-`, 30).map((payload, at) => publishPacket(at + 1, { topic: 'home/x', payload })))
  }
  await until(() => members.flatMap(payloads).length >= 90 && payloads(plain).length >= 90)
  await settleDown()
  t.strictSame(members.flatMap(payloads).sort(), [0, 1, 2].flatMap((index) => texts(`${index}-`, 30)).sort())
  t.equal(payloads(plain).length, 90)
  for (const member of members) t.ok(payloads(member).length > 10, 'each has its turns')
})
