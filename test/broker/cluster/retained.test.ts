/** Retained messages of several gateways. */
import t, { type Test } from 'tap'
import { publishPacket, RawClient } from '../../helpers/broker.ts'
import { NO_REDIS, startClustered, startRedis } from '../../helpers/redis.ts'
import { until } from '../../helpers/until.ts'

/** The messages that a new subscriber is sent at once. */
async function retainedAt (t: Test, port: number, filter: string): Promise<string[]> {
  const subscriber = await RawClient.connected(t, port)
  await subscriber.subscribe({ [filter]: 1, 'end/#': 0 })
  subscriber.send(publishPacket(0, { topic: 'end/x', payload: '', qos: 0 }))
  await until(() => subscriber.of('publish').some(({ topic }) => topic === 'end/x'))
  subscriber.socket.destroy()
  return subscriber.messages().filter((message) => !message.startsWith('end/')).sort()
}

async function retain (publisher: RawClient, topic: string, payload: string): Promise<void> {
  const before = publisher.of('puback').length
  publisher.send(publishPacket(before + 1, { topic, payload, retain: true }))
  await publisher.waitFor('puback', before + 1)
}

t.test('a retained message is sent by every gateway, one that starts later included, until ' +
  'it is cleared', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const a = await startClustered(t, redis.url)
  const b = await startClustered(t, redis.url)
  const publisher = await RawClient.connected(t, a.port)
  for (const topic of ['home/x', 'home/y', 'vital/band-1']) await retain(publisher, topic, topic)
  await until(() => b.broker.statistics().retainedMessages >= a.broker.statistics().retainedMessages)
  t.strictSame(await retainedAt(t, b.port, 'home/#'), ['home/x home/x', 'home/y home/y'])
  const c = await startClustered(t, redis.url)
  t.strictSame(await retainedAt(t, c.port, '+/+'), ['home/x home/x', 'home/y home/y', 'vital/band-1 vital/band-1'])
  await retain(await RawClient.connected(t, c.port), 'home/x', '')
  await until(async () => (await retainedAt(t, a.port, 'home/#')).length === 1)
  t.strictSame(await retainedAt(t, a.port, 'home/#'), ['home/y home/y'])
  b.broker.forget('band-1')
  for (const { port } of [a, b, c]) await until(async () => (await retainedAt(t, port, 'vital/#')).length === 0)
  await until(async () => await redis.client.hexists('vital:retained', 'vital/band-1') === 0, 'the message to go from Redis too')
  t.notOk((await redis.client.hkeys('vital:retained')).some((topic) => topic.startsWith('$SYS')), 'statistics are each gateway\'s own')
})

t.test('gateways that retain on one topic at the same time end with the same message', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const brokers = [await startClustered(t, redis.url), await startClustered(t, redis.url), await startClustered(t, redis.url)]
  const publishers = await Promise.all(brokers.map(({ port }) => RawClient.connected(t, port)))
  await Promise.all(publishers.map(async (publisher, index) => {
    for (let round = 0; round < 100; round++) await retain(publisher, `home/${round % 5}`, `${index}-${round}`)
  }))
  const kept = () => Promise.all(brokers.map(({ port }) => retainedAt(t, port, 'home/#')))
  await until(async () => new Set((await kept()).map(String)).size === 1)
  const stored = await redis.client.hgetall('vital:retained')
  const messages = (await kept())[0]!
  t.equal(messages.length, 5)
  for (const message of messages) {
    const [topic, payload] = message.split(' ') as [string, string]
    t.ok(stored[topic]!.endsWith(payload), `Redis has ${message}`)
  }
})

t.test('a retained message that expires is gone everywhere', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const [a, b] = [await startClustered(t, redis.url), await startClustered(t, redis.url)]
  const publisher = await RawClient.connected(t, a.port, { protocolVersion: 5 })
  publisher.send(publishPacket(1, { topic: 'home/x', retain: true, properties: { messageExpiryInterval: 1 } }))
  await publisher.waitFor('puback')
  await until(async () => (await retainedAt(t, b.port, 'home/#')).length === 1)
  await until(async () => (await retainedAt(t, b.port, 'home/#')).length === 0 && await redis.client.hlen('vital:retained') === 0)
})
