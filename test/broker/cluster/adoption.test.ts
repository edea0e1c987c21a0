/** Gateways that die, stop, or are cut off from Redis. */
import t from 'tap'
import { publishPacket, RawClient } from '../../helpers/broker.ts'
import { NO_REDIS, startCable, startClustered, startRedis } from '../../helpers/redis.ts'
import { until } from '../../helpers/until.ts'

const persistent = (clientId: string) => ({ clientId, clean: false })
const persistent5 = (clientId: string) => ({ ...persistent(clientId), protocolVersion: 5 as const })
const isPresent = (client: RawClient) => client.of('connack')[0]!.sessionPresent
const payloads = (client: RawClient) => client.of('publish').map(({ payload }) => payload.toString())
const texts = (name: string, count: number) => Array.from({ length: count }, (_, index) => `${name}${index}`)

async function publish (client: RawClient, topic: string, texts: readonly string[]): Promise<void> {
  const before = client.of('puback').length
  client.send(...texts.map((payload, index) => publishPacket(before + index + 1, { topic, payload })))
  await client.waitFor('puback', before + texts.length)
}

t.test('the sessions of a dead gateway are adopted, with messages published meanwhile, in order', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const cable = await startCable(t, redis.port)
  const [a, b] = [await startClustered(t, cable.url), await startClustered(t, redis.url)]
  const c = await startClustered(t, redis.url)
  const clients = await Promise.all(texts('client-', 20).map((id) => RawClient.connected(t, a.port, persistent(id))))
  for (const client of clients) {
    await client.subscribe({ 'home/#': 1 })
    client.socket.destroy()
  }
  const clean = await RawClient.connected(t, a.port, { clientId: 'clean' })
  await publish(await RawClient.connected(t, a.port), 'home/a', texts('a', 10))
  const publisher = await RawClient.connected(t, b.port)
  await publish(publisher, 'home/b', texts('b', 10))
  await until(async () => await redis.client.hlen('vital:client:client-0') > 20, 'all messages to be in Redis')
  cable.cut()
  let rounds = 0
  for (; b.cluster.statistics().sessionsAdopted + c.cluster.statistics().sessionsAdopted < 20; rounds++) {
    await publish(publisher, 'home/b', texts(`during-${rounds}-`, 5))
    await publish(await RawClient.connected(t, c.port), 'home/c', [`c${rounds}`])
  }
  await publish(publisher, 'home/b', ['end'])
  const expected = payloads(await back('client-0'))
  t.ok(expected.some((text) => text.startsWith('during-')))
  t.strictSame(expected.filter((text) => /^[ab]\d/.test(text)).sort(), [...texts('a', 10), ...texts('b', 10)].sort())
  t.strictSame(expected.filter((text) => text.startsWith('c')), texts('c', rounds), 'none is missing, and none comes twice')
  const during = expected.filter((text) => text.startsWith('during-'))
  t.strictSame(during, texts('during-', rounds).flatMap((name) => texts(`${name}-`, 5)))
  for (const id of texts('client-', 20)) t.equal(payloads(await back(id)).length, expected.length, id)
  t.strictSame(await redis.client.smembers('vital:gateways').then((gateways) => gateways.length), 2, 'nothing is left of it')
  t.equal(await redis.client.exists('vital:client:clean'), 0)
  t.notOk(clean.isClosed, 'a gateway that is cut off still serves')

  async function back (clientId: string): Promise<RawClient> {
    const client = await RawClient.connected(t, c.port, persistent(clientId))
    t.ok(isPresent(client), clientId)
    await until(() => payloads(client).includes('end'))
    return client
  }
})

t.test('a client that comes back before the lease has ended waits for its session', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const cable = await startCable(t, redis.port)
  const [a, b] = [await startClustered(t, cable.url), await startClustered(t, redis.url)]
  const first = await RawClient.connected(t, a.port, persistent('lk'))
  await first.subscribe({ 'home/#': 1 })
  await until(async () => await redis.client.hexists('vital:client:lk', 'm') === 1)
  cable.cut()
  const back = await RawClient.connected(t, b.port, persistent('lk'))
  t.ok(isPresent(back))
  await publish(await RawClient.connected(t, b.port), 'home/x', ['m'])
  await back.waitFor('publish')
})

t.test('a gateway that was declared dead gives up the sessions that were adopted, and joins again', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const cable = await startCable(t, redis.port)
  const [a, b] = [await startClustered(t, cable.url), await startClustered(t, redis.url)]
  const first = await RawClient.connected(t, a.port, persistent('lk'))
  await first.subscribe({ 'home/#': 1 })
  const watcher = await RawClient.connected(t, a.port, { clientId: 'watcher' })
  await watcher.subscribe({ 'watched/#': 0 })
  await until(async () => await redis.client.hexists('vital:client:lk', 'm') === 1)
  cable.cut()
  await until(() => b.cluster.statistics().sessionsAdopted === 1)
  const publisher = await RawClient.connected(t, b.port)
  await publish(publisher, 'home/x', ['while away'])
  cable.mend()
  await first.closed()
  const back = await RawClient.connected(t, a.port, persistent('lk'))
  t.ok(isPresent(back))
  await back.waitFor('publish')
  t.strictSame(payloads(back), ['while away'])
  t.notOk(watcher.isClosed, 'a client whose session ends with its connection stays')
  await until(async () => {
    await publish(publisher, 'watched/x', ['m'])
    return payloads(watcher).length > 0
  }, 'and gets what others publish')
  t.equal(b.cluster.statistics().gateways, 2)
})

t.test('a gateway whose sessions are being adopted writes nothing more: its clients send their ' +
  'publishes again', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  // Its lease still stands, as when a gateway is frozen between checking its lease and writing.
  const clusterLimits = { leaseMs: 60_000, renewIntervalMs: 60_000 }
  const a = await startClustered(t, redis.url, { clusterLimits })
  const b = await startClustered(t, redis.url, { clusterLimits })
  const [here, elsewhere] = [await RawClient.connected(t, a.port, persistent('here')), await RawClient.connected(t, b.port)]
  await here.subscribe({ 'home/#': 1 })
  await elsewhere.subscribe({ 'home/#': 1 })
  const publisher = await RawClient.connected(t, a.port, persistent('publisher'))
  await publish(publisher, 'home/x', ['before'])
  await until(() => payloads(elsewhere).length === 1)
  const adoption = `vital:adoption:${a.cluster.name}`
  await redis.client.set(adoption, 'another')
  const written = async () => [await redis.client.hgetall('vital:client:here'), await redis.client.hgetall('vital:client:publisher')]
  await until(async () => (await redis.client.hlen('vital:client:here')) > 0)
  const before = await written()
  publisher.send(publishPacket(2, { topic: 'home/x', payload: 'amid', qos: 2 }))
  await until(() => payloads(here).length === 2)
  // Longer than a session waits to be written.
  await new Promise((resolve) => { setTimeout(resolve, 100) })
  t.strictSame(payloads(elsewhere), ['before'])
  t.strictSame(await written(), before)
  await redis.client.del(adoption)
  await publish(publisher, 'home/x', ['after'])
  await until(() => payloads(elsewhere).length === 3)
  t.strictSame(payloads(elsewhere), ['before', 'amid', 'after'], 'the gateway was only slow')
})

t.test('a gateway that stops hands its sessions over at once, and one that starts alone finds them', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const a = await startClustered(t, redis.url)
  const first = await RawClient.connected(t, a.port, persistent('lk'))
  await first.subscribe({ 'home/#': 1 })
  await publish(await RawClient.connected(t, a.port), 'home/x', ['one'])
  await a.broker.stop()
  const b = await startClustered(t, redis.url)
  const back = await RawClient.connected(t, b.port, persistent('lk'))
  t.ok(isPresent(back))
  await back.waitFor('publish')
  t.strictSame(payloads(back), ['one'])
})

for (const [step, command] of [
  ['it has read the sessions', 'HGETALL'],
  ['it has read the rest of the stream', 'XRANGE'],
  ['it has taken the sessions', 'vital:adoption:\' .. ARGV[4]'],
  ['nothing is left of the first', '\'interest\', \'clients\', \'position\'']
] as const) {
  t.test(`a gateway that is killed while it adopts, once ${step}, leaves everything to the next one`, { skip: NO_REDIS }, async (t) => {
    const redis = await startRedis(t)
    const [cableOfA, cableOfB] = [await startCable(t, redis.port), await startCable(t, redis.port)]
    const [a, b] = [await startClustered(t, cableOfA.url), await startClustered(t, cableOfB.url)]
    const clients = await Promise.all(texts('client-', 3).map((id) => RawClient.connected(t, a.port, persistent5(id))))
    for (const client of clients) {
      await client.subscribe({ 'home/#': 1, '$share/group/shared/#': 1 })
      client.socket.destroy()
    }
    const publisher = await RawClient.connected(t, b.port)
    await publish(publisher, 'home/x', texts('before', 5))
    cableOfB.holdAnswerTo((sent) => sent.includes(command))
    cableOfA.cut()
    await publish(publisher, 'home/x', texts('while dead', 5))
    await publish(publisher, 'shared/x', texts('shared', 6))
    await until(() => cableOfB.isHolding, 'b adopts')
    cableOfB.cut()
    const c = await startClustered(t, redis.url)
    await publish(await RawClient.connected(t, c.port), 'home/x', ['end'])
    const shared: string[] = []
    for (const id of texts('client-', 3)) {
      const client = await RawClient.connected(t, c.port, persistent5(id))
      t.ok(isPresent(client), id)
      await until(() => payloads(client).includes('end'), 'the last one comes')
      t.strictSame(payloads(client).filter((text) => !text.startsWith('shared')), [...texts('before', 5), ...texts('while dead', 5), 'end'])
      shared.push(...payloads(client).filter((text) => text.startsWith('shared')))
    }
    t.strictSame(shared.sort(), texts('shared', 6), 'each message of the shared subscription once')
    t.equal(await redis.client.scard('vital:gateways'), 1)
  })
}

t.test('messages of a shared subscription that another gateway still sends to the dead one are not lost', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const [cableOfA, cableOfB] = [await startCable(t, redis.port), await startCable(t, redis.port)]
  const [a, b] = [await startClustered(t, cableOfA.url), await startClustered(t, cableOfB.url)]
  const late = await startClustered(t, redis.url, { clusterLimits: { leaseMs: 60_000, renewIntervalMs: 60_000 } })
  const member = await RawClient.connected(t, a.port, persistent5('member'))
  await member.subscribe({ '$share/group/shared/#': 1 })
  let locks = 0
  // By the second command with the lock, b has read the stream.
  cableOfB.holdAnswerTo((sent) => sent.includes('local holder') && ++locks === 2)
  cableOfA.cut()
  await until(() => cableOfB.isHolding, 'b adopts')
  await publish(await RawClient.connected(t, late.port), 'shared/x', texts('shared', 6))
  cableOfB.letGo()
  const back = await RawClient.connected(t, b.port, persistent5('member'))
  t.ok(isPresent(back))
  await until(() => payloads(back).length >= 6)
  t.strictSame(payloads(back).sort(), texts('shared', 6))
})

t.test('a message that reaches the adopter late is not taken for one that it has read in another stream', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const [cableOfA, cableOfB] = [await startCable(t, redis.port), await startCable(t, redis.port)]
  const a = await startClustered(t, cableOfA.url)
  const b = await startClustered(t, cableOfB.url, { clusterLimits: { blockMs: 10_000, commandTimeoutMs: 10_000, interestTimeoutMs: 200 } })
  const third = await startClustered(t, redis.url, { clusterLimits: { leaseMs: 60_000, renewIntervalMs: 60_000 } })
  const nurse = await RawClient.connected(t, a.port, persistent('nurse'))
  await nurse.subscribe({ 'home/#': 1 })
  nurse.socket.destroy()
  cableOfB.holdAnswerTo((sent) => sent.includes('XREAD') && sent.includes(`vital:stream:${b.cluster.name}`))
  const publisher = await RawClient.connected(t, third.port)
  cableOfA.cut()
  let sent = 0
  for (; b.cluster.statistics().sessionsAdopted === 0; sent++) await publish(publisher, 'home/x', [`m${sent}`])
  t.ok(cableOfB.isHolding, 'the adopter has read nothing of its own stream')
  cableOfB.letGo()
  const back = await RawClient.connected(t, b.port, persistent('nurse'))
  await publish(publisher, 'home/x', ['end'])
  await until(() => payloads(back).includes('end'))
  t.strictSame(payloads(back), [...texts('m', sent), 'end'])
})
