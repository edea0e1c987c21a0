/** Redis that is away, frozen, emptied, full, or badly configured. */
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { RedisLink } from '../../../broker/cluster/redis/redis-link.ts'
import { publishPacket, RawClient } from '../../helpers/broker.ts'
import { type ClusteredBroker, NO_REDIS, startCable, startClustered, startRedis } from '../../helpers/redis.ts'
import { until } from '../../helpers/until.ts'

const persistent = (clientId: string) => ({ clientId, clean: false })
const isPresent = (client: RawClient) => client.of('connack')[0]!.sessionPresent
const payloads = (client: RawClient) => client.of('publish').map(({ payload }) => payload.toString())
const logOf = ({ log }: ClusteredBroker) => log.map(({ msg }) => String(msg))

async function publish (client: RawClient, topic: string, texts: readonly string[]): Promise<void> {
  const before = client.of('puback').length
  client.send(...texts.map((payload, index) => publishPacket(before + index + 1, { topic, payload })))
  await client.waitFor('puback', before + texts.length)
}

async function startTwo (t: Test, args: readonly string[] = []) {
  const redis = await startRedis(t, args)
  return { redis, a: await startClustered(t, redis.url), b: await startClustered(t, redis.url) }
}

const isJoined = (brokers: readonly ClusteredBroker[]) => brokers.every(({ cluster }) => cluster.statistics().isUp)

/** Publishes until a subscriber gets one of them. */
async function untilDelivered (publisher: RawClient, subscriber: RawClient, topic: string): Promise<void> {
  const before = payloads(subscriber).length
  await until(async () => {
    await publish(publisher, topic, ['again'])
    return payloads(subscriber).length > before
  }, 'fan-out resumes')
}

t.test('Redis away: publishes are acknowledged, clients are let in, and a warning says so; sessions ' +
  'follow later', { skip: NO_REDIS }, async (t) => {
  const { redis, a, b } = await startTwo(t)
  const subscriber = await RawClient.connected(t, b.port, persistent('lk'))
  await subscriber.subscribe({ 'home/#': 1 })
  const publisher = await RawClient.connected(t, a.port)
  await publish(publisher, 'home/x', ['before'])
  await subscriber.waitFor('publish')
  t.strictSame([a.cluster.warnings(), b.cluster.warnings()], [[], []])
  await redis.kill()
  await publish(publisher, 'home/x', ['waits'])
  await until(() => !isJoined([a]) && !isJoined([b]))
  t.match(a.cluster.warnings().join(), /Redis has not answered for \d+ s/)
  t.ok(logOf(a).some((text) => text.startsWith('Redis does not answer')))
  const newcomer = await RawClient.connected(t, a.port, persistent('new'))
  t.strictSame(await newcomer.subscribe({ 'home/#': 1 }), [1])
  await publish(publisher, 'home/x', ['alone'])
  await newcomer.waitFor('publish')
  await publish(await RawClient.connected(t, b.port), 'home/x', ['there'])
  await until(() => payloads(subscriber).includes('there'), 'a gateway delivers to its own clients')
  t.equal(a.cluster.statistics().unclaimed, 1)
  await redis.start()
  await until(() => isJoined([a, b]))
  await until(() => payloads(subscriber).includes('waits') && payloads(subscriber).includes('alone'), 'the messages that waited')
  t.strictSame(payloads(subscriber).filter((text) => text !== 'there'), ['before', 'waits', 'alone'])
  await until(() => a.cluster.statistics().unclaimed === 0)
  t.strictSame(a.cluster.warnings(), [])
  const moved = await RawClient.connected(t, b.port, persistent('new'))
  t.ok(isPresent(moved), 'the session that began without Redis goes to the other gateway')
  await newcomer.closed()
})

t.test('Redis frozen: nothing waits for it for long, and fan-out resumes', { skip: NO_REDIS }, async (t) => {
  const { redis, a, b } = await startTwo(t)
  const subscriber = await RawClient.connected(t, b.port)
  await subscriber.subscribe({ 'home/#': 0 })
  const publisher = await RawClient.connected(t, a.port)
  await untilDelivered(publisher, subscriber, 'home/x')
  redis.freeze()
  await publish(publisher, 'home/x', ['frozen'])
  const newcomer = await RawClient.connected(t, a.port, persistent('new'))
  t.notOk(isPresent(newcomer), 'a client is let in once Redis has not answered')
  t.strictSame(await newcomer.subscribe({ 'home/#': 0 }), [0])
  await until(() => !isJoined([a]) && !isJoined([b]))
  await sleep(1000)
  redis.thaw()
  await until(() => isJoined([a, b]))
  await untilDelivered(publisher, subscriber, 'home/x')
  t.equal(payloads(subscriber).filter((text) => text === 'frozen').length, 1)
  t.ok(a.cluster.statistics().timeouts > 0)
})

t.test('Redis emptied: it is filled again, fan-out resumes, and the gap is logged', { skip: NO_REDIS }, async (t) => {
  const { redis, a, b } = await startTwo(t)
  const subscriber = await RawClient.connected(t, b.port, persistent('lk'))
  await subscriber.subscribe({ 'home/#': 1 })
  const publisher = await RawClient.connected(t, a.port)
  publisher.send(publishPacket(1, { topic: 'kept/x', payload: 'kept', retain: true }))
  await publisher.waitFor('puback')
  await until(async () => await redis.client.hlen('vital:retained') === 1)
  for (const empty of [async () => { await redis.client.flushall() }, async () => {
    await redis.kill()
    await redis.start({ empty: true })
  }]) {
    await empty()
    await until(async () => await redis.client.scard('vital:gateways') === 2, 'both gateways to register again')
    await untilDelivered(publisher, subscriber, 'home/x')
    await until(async () => await redis.client.hexists('vital:client:lk', 'm') === 1 && await redis.client.hlen('vital:retained') === 1)
  }
  t.ok(logOf(b).filter((text) => text.startsWith('Redis has lost this gateway')).length >= 2)
  t.notOk(subscriber.isClosed, 'the client stays connected')
  const back = await connectedAgain(t, a.port, 'lk')
  t.ok(isPresent(back))
  await untilDelivered(await RawClient.connected(t, b.port), back, 'home/y')
})

/** Connects again and again, as clients do: a CONNECT that comes while its gateway claims its clients again may be closed. */
async function connectedAgain (t: Test, port: number, clientId: string): Promise<RawClient> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await RawClient.connected(t, port, persistent(clientId))
    } catch (error) {
      if (attempt === 3) throw error
      t.comment(`attempt ${attempt}: ${(error as Error).message}`)
    }
  }
}

t.test('a stream whose ids are below the position that was read is noticed', { skip: NO_REDIS }, async (t) => {
  const { redis, a, b } = await startTwo(t)
  const subscriber = await RawClient.connected(t, b.port)
  await subscriber.subscribe({ 'home/#': 0 })
  const publisher = await RawClient.connected(t, a.port)
  await untilDelivered(publisher, subscriber, 'home/x')
  const stream = `vital:stream:${b.cluster.name}`
  // As in a Redis whose clock is an hour behind.
  await redis.client.multi().del(stream).xadd(stream, '1-1', 'e', '').exec()
  await until(() => logOf(b).some((text) => text.startsWith('Redis has lost this gateway')))
  await untilDelivered(publisher, subscriber, 'home/x')
})

t.test('messages that wait are bounded; those beyond the bound are dropped, counted, and logged ' +
  'at both ends', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const a = await startClustered(t, redis.url, { clusterLimits: { outboxBytesMax: 100_000 } })
  const b = await startClustered(t, redis.url)
  const subscriber = await RawClient.connected(t, b.port)
  await subscriber.subscribe({ 'home/#': 0 })
  const publisher = await RawClient.connected(t, a.port)
  await untilDelivered(publisher, subscriber, 'home/x')
  redis.freeze()
  const texts = Array.from({ length: 50 }, (_, index) => `${index}`.padEnd(10_000))
  await publish(publisher, 'home/x', texts)
  redis.thaw()
  await until(() => isJoined([a, b]))
  await untilDelivered(publisher, subscriber, 'home/x')
  const { dropped } = a.cluster.statistics()
  t.ok(dropped > 30 && dropped < 50, `${dropped} dropped`)
  t.ok(logOf(a).includes('messages for subscribers of another gateway were dropped'))
  await until(() => b.cluster.statistics().missed > 0)
  t.ok(logOf(b).includes('messages of another gateway were missed'))
})

t.test('a full Redis: publishes are acknowledged, and a warning says that sessions are not written', { skip: NO_REDIS }, async (t) => {
  const { redis, a } = await startTwo(t, ['--maxmemory-policy', 'noeviction'])
  const subscriber = await RawClient.connected(t, a.port, persistent('lk'))
  await subscriber.subscribe({ 'home/#': 1 })
  await redis.client.config('SET', 'maxmemory', '1')
  subscriber.socket.destroy()
  const publisher = await RawClient.connected(t, a.port)
  await publish(publisher, 'home/x', ['kept'])
  await until(() => a.cluster.warnings().some((text) => /Redis does not take sessions: OOM/.test(text)))
  await redis.client.config('SET', 'maxmemory', '0')
  const back = await RawClient.connected(t, a.port, persistent('lk'))
  await back.waitFor('publish')
  await until(() => a.cluster.warnings().length === 0)
})

for (const [what, name, refusing, taking] of [
  ['is full', 'maxmemory', '1', '0'], ['has too few replicas', 'min-replicas-to-write', '1', '0']
] as const) {
  t.test(`a Redis that ${what} for longer than a lease: publishes are acknowledged, and a ` +
    'warning says so', { skip: NO_REDIS }, async (t) => {
    const redis = await startRedis(t, ['--maxmemory-policy', 'noeviction'])
    const clusterLimits = { leaseMs: 1000, renewIntervalMs: 200, commandTimeoutMs: 500 }
    const a = await startClustered(t, redis.url, { clusterLimits })
    const b = await startClustered(t, redis.url, { clusterLimits })
    const here = await RawClient.connected(t, a.port, persistent('here'))
    await here.subscribe({ 'home/#': 1 })
    const there = await RawClient.connected(t, b.port)
    await there.subscribe({ 'home/#': 0 })
    const publisher = await RawClient.connected(t, a.port)
    await untilDelivered(publisher, there, 'home/x')
    await redis.client.config('SET', name, refusing)
    await sleep(3 * clusterLimits.leaseMs)
    const begunAtMs = performance.now()
    await publish(publisher, 'home/x', ['meanwhile'])
    t.ok(performance.now() - begunAtMs < 3000, 'acknowledged while Redis refuses writes')
    await until(() => payloads(here).includes('meanwhile'))
    await until(() => a.cluster.warnings().some((text) => text.startsWith('Redis refuses writes')))
    await redis.client.config('SET', name, taking)
    await until(() => isJoined([a, b]) && a.cluster.warnings().length === 0)
    await untilDelivered(publisher, there, 'home/x')
    t.ok(isPresent(await RawClient.connected(t, b.port, persistent('here'))), 'the other gateway gets the session')
  })
}

t.test('a Redis that was full for a while: retained messages and subscriptions of then reach the ' +
  'other gateway', { skip: NO_REDIS }, async (t) => {
  const { redis, a, b } = await startTwo(t, ['--maxmemory-policy', 'noeviction'])
  const publisher = await RawClient.connected(t, a.port)
  const subscriber = await RawClient.connected(t, b.port)
  await redis.client.config('SET', 'maxmemory', '1')
  publisher.send(publishPacket(1, { topic: 'kept/x', payload: 'kept', retain: true }))
  await publisher.waitFor('puback')
  t.strictSame(await subscriber.subscribe({ 'home/#': 0 }), [0])
  await until(() => a.cluster.warnings().some((text) => text.startsWith('Redis refuses writes')))
  await redis.client.config('SET', 'maxmemory', '0')
  await untilDelivered(publisher, subscriber, 'home/x')
  await until(() => b.broker.statistics().retainedMessages === a.broker.statistics().retainedMessages)
  t.equal(await redis.client.hexists('vital:retained', 'kept/x'), 1)
  const late = await RawClient.connected(t, b.port)
  await late.subscribe({ 'kept/#': 0 })
  await late.waitFor('publish')
  t.strictSame(payloads(late), ['kept'])
})

t.test('a Redis that evicts, and one that wants a user and a password', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t, [
    '--maxmemory-policy', 'allkeys-lru', '--user', 'gateway', 'on', '>s3cret', '~vital:*', '+@all'
  ])
  const url = `redis://gateway:s3cret@127.0.0.1:${redis.port}`
  const a = await startClustered(t, url)
  t.strictSame(a.cluster.warnings(), ['Redis has maxmemory-policy allkeys-lru, and so may drop sessions: set noeviction'])
  const wrong = await startClustered(t, url.replace('s3cret', 'wr0ng'))
  t.match(wrong.cluster.warnings().join(), /has not answered/)
  await RawClient.connected(t, wrong.port, persistent('lk'))
  for (const { log } of [a, wrong]) t.notMatch(JSON.stringify(log), /s3cret|wr0ng/)
})

t.test('an error of Redis holds no argument of its command, so that no payload is logged', { skip: NO_REDIS }, async (t) => {
  const { url } = await startRedis(t)
  let isUp = false
  const link = new RedisLink({
    url,
    name: 'test',
    commandTimeoutMs: 5000,
    connectTimeoutMs: 5000,
    onUp: () => { isUp = true },
    onDown: () => {},
    logger: pino({ level: 'silent' })
  })
  t.teardown(() => { link.close() })
  link.start()
  await until(() => isUp)
  await link.call('SET', 'vital:text', 'x')
  const failed = await link.call('HSET', 'vital:text', 'm', 'a payload').catch((error: unknown) => error)
  const [piped] = await link.pipeline([['HSET', 'vital:text', 'm', 'a payload']])
  for (const error of [failed, piped]) {
    t.match((error as Error).message, /WRONGTYPE/)
    t.strictSame(Object.keys(error as Error), [])
  }
})

t.test('a brief loss of Redis costs no client its session, also after a long one', { skip: NO_REDIS }, async (t) => {
  const { redis, a, b } = await startTwo(t)
  const first = await RawClient.connected(t, a.port, persistent('lk'))
  await first.subscribe({ 'home/#': 1 })
  await redis.kill()
  await until(() => !isJoined([a]) && !isJoined([b]))
  await RawClient.connected(t, b.port, persistent('new'))
  t.equal(b.cluster.statistics().unclaimed, 1, 'let in once the outage was long')
  await redis.start()
  await until(() => isJoined([a, b]) && b.cluster.statistics().unclaimed === 0)
  await redis.kill()
  await until(() => !isJoined([a]) && !isJoined([b]))
  // Two at once: one takes the session over from the other.
  const clients = await Promise.all([1, 2].map(() => RawClient.open(t, b.port)))
  const answers = clients.map((client) => client.connect(persistent('lk')))
  await redis.start()
  const told = await Promise.all(answers)
  t.ok(told.some(({ returnCode }) => returnCode === 0))
  t.strictSame(told.filter(({ returnCode, sessionPresent }) => returnCode === 0 && !sessionPresent), [], 'its session')
})

t.test('a client whose session is on its way when Redis goes away for long has none in its CONNACK', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const cable = await startCable(t, redis.port)
  const [a, b] = [await startClustered(t, redis.url), await startClustered(t, cable.url)]
  const first = await RawClient.connected(t, a.port, persistent('lk'))
  await first.subscribe({ 'home/#': 1 })
  first.socket.destroy()
  await publish(await RawClient.connected(t, a.port), 'home/x', ['queued'])
  cable.holdAnswerTo((sent) => sent.includes('"t":"take"'))
  const back = await RawClient.open(t, b.port)
  const connack = back.connect(persistent('lk'))
  await until(() => cable.isHolding, 'b to have the subscriptions, and not the queue')
  cable.cut()
  t.match(await connack, { returnCode: 0, sessionPresent: false })
})

t.test('Redis refuses reads for a while: a warning, and then messages and retained ones of others come ' +
  'again', { skip: NO_REDIS }, async (t) => {
  const { redis, a, b } = await startTwo(t)
  const subscriber = await RawClient.connected(t, b.port)
  await subscriber.subscribe({ 'home/#': 0 })
  const publisher = await RawClient.connected(t, a.port)
  await publish(publisher, 'home/x', ['before'])
  await subscriber.waitFor('publish')
  await redis.client.call('ACL', 'SETUSER', 'default', '-xread')
  const refusals = () => logOf(b).filter((text) => text.startsWith('Redis refuses a read'))
  await until(() => refusals().length === 2, 'both streams to be refused')
  t.strictSame(refusals().sort(), [
    'Redis refuses a read: the stream of retained messages is read later',
    'Redis refuses a read: the stream of this gateway is read later'
  ])
  t.ok(isJoined([a, b]), 'the connections stay')
  await publish(publisher, 'home/x', ['waits'])
  publisher.send(publishPacket(9, { topic: 'home/kept', payload: 'kept', retain: true }))
  await redis.client.call('ACL', 'SETUSER', 'default', '+xread')
  await until(() => payloads(subscriber).length === 3, 'what waited in the streams')
  t.strictSame(payloads(subscriber), ['before', 'waits', 'kept'])
  const newcomer = await RawClient.connected(t, b.port)
  await until(async () => {
    await newcomer.subscribe({ 'home/kept': 0 })
    return payloads(newcomer).includes('kept')
  }, 'the retained message at the other gateway')
})
