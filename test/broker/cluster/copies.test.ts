/** What an acknowledgement waits for, so that a gateway that dies loses no message that a session must get. */
import t, { type Test } from 'tap'
import { createCopies } from '../../../broker/cluster/copies.ts'
import { publishPacket, RawClient, settleDown } from '../../helpers/broker.ts'
import { NO_REDIS, startClustered, startRedis } from '../../helpers/redis.ts'
import { until } from '../../helpers/until.ts'

async function startTwo (t: Test) {
  const redis = await startRedis(t)
  return { redis, a: await startClustered(t, redis.url), b: await startClustered(t, redis.url) }
}

for (const protocolVersion of [4, 5] as const) {
  const title = (what: string) => `MQTT ${protocolVersion}: ${what}`

  t.test(title('a publish is acknowledged once Redis has it for its sessions, here and elsewhere'), { skip: NO_REDIS }, async (t) => {
    const { redis, a, b } = await startTwo(t)
    for (const [where, { port }] of Object.entries({ here: a, elsewhere: b })) {
      const session = await RawClient.connected(t, port, { clientId: where, clean: false, protocolVersion })
      await session.subscribe({ [`vital/${where}`]: 1, [`ward/${where}`]: 2 })
    }
    const publisher = await RawClient.connected(t, a.port, { protocolVersion })
    let packetId = 0
    for (const topic of ['vital/here', 'ward/here', 'vital/elsewhere', 'ward/elsewhere']) {
      for (const qos of [1, 2] as const) {
        const answer = qos === 1 ? 'puback' : 'pubrec'
        const before = publisher.of(answer).length
        await until(() => a.cluster.whenCopied() === null)
        redis.freeze()
        publisher.send(publishPacket(++packetId, { topic, qos }))
        await settleDown()
        t.equal(publisher.of(answer).length, before, `${topic} at QoS ${qos} waits`)
        redis.thaw()
        await publisher.waitFor(answer, before + 1)
        if (qos === 2) publisher.send({ cmd: 'pubrel', messageId: packetId })
      }
    }
  })

  t.test(title('a session is sent a message of QoS 2, and PUBREL, once Redis knows'), { skip: NO_REDIS }, async (t) => {
    const { redis, a } = await startTwo(t)
    const session = await RawClient.connected(t, a.port, { clientId: 'ward', clean: false, protocolVersion })
    await session.subscribe({ 'home/#': 2 })
    const publisher = await RawClient.connected(t, a.port, { protocolVersion })
    redis.freeze()
    publisher.send(publishPacket(1, { topic: 'home/one', qos: 1 }), publishPacket(2, { topic: 'home/two', qos: 2 }))
    await session.waitFor('publish')
    await settleDown()
    t.strictSame(session.of('publish').map(({ topic }) => topic), ['home/one'], 'at QoS 1 at once')
    redis.thaw()
    await session.waitFor('publish', 2)
    const { messageId = 0 } = session.of('publish')[1]!
    redis.freeze()
    session.send({ cmd: 'pubrec', messageId })
    await settleDown()
    t.equal(session.of('pubrel').length, 0)
    redis.thaw()
    await session.waitFor('pubrel')
    session.send({ cmd: 'pubcomp', messageId })
    await publisher.waitFor('pubrec')
    redis.freeze()
    publisher.send({ cmd: 'pubrel', messageId: 2 })
    await settleDown()
    t.equal(publisher.of('pubcomp').length, 0, 'a packet id is free once Redis knows')
    redis.thaw()
    await publisher.waitFor('pubcomp')
  })
}

t.test('acknowledgements of one client keep their order, whatever each waits for', { skip: NO_REDIS }, async (t) => {
  const { redis, a } = await startTwo(t)
  const session = await RawClient.connected(t, a.port, { clientId: 'ward', clean: false })
  await session.subscribe({ 'home/+': 1 })
  const publisher = await RawClient.connected(t, a.port)
  const ids = Array.from({ length: 300 }, (_, index) => index + 1)
  for (const id of ids) {
    publisher.send(publishPacket(id, { topic: id % 3 === 0 ? 'home/x' : id % 3 === 1 ? 'vital/unwatched' : 'other', retain: id % 5 === 0 }))
    if (id % 50 === 0) await settleDown()
    if (id === 100) redis.freeze()
    if (id === 150) redis.thaw()
  }
  await publisher.waitFor('puback', ids.length)
  t.strictSame(publisher.ids('puback'), ids)
  await session.waitFor('publish', 100)
  t.equal(session.of('publish').length, 100)
})

t.test('no acknowledgement waits for long: without a subscriber not at all, otherwise up to ' +
  'a time limit', { skip: NO_REDIS }, async (t) => {
  const { redis, a } = await startTwo(t)
  const session = await RawClient.connected(t, a.port, { clientId: 'ward', clean: false })
  await session.subscribe({ 'vital/watched': 1 })
  const [publisher, other] = [await RawClient.connected(t, a.port), await RawClient.connected(t, a.port)]
  await until(() => a.cluster.whenCopied() === null)
  redis.freeze()
  other.send(publishPacket(1, { topic: 'vital/unwatched' }))
  await other.waitFor('puback')
  publisher.send(publishPacket(1, { topic: 'vital/watched' }))
  await settleDown()
  t.equal(publisher.of('puback').length, 0)
  await publisher.waitFor('puback')
  await until(() => !a.cluster.statistics().isUp, 'Redis to count as away')
  publisher.send(publishPacket(2, { topic: 'vital/watched' }))
  await publisher.waitFor('puback', 2)
  t.equal(session.of('publish').length, 2)
  redis.thaw()
})

/** Renews its lease long after the lease has ended, as a gateway does that was frozen. */
const LAPSING = { clusterLimits: { renewIntervalMs: 3000 } }

t.test('a gateway whose sessions were adopted acknowledges no later publish, and ends its connections', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const a = await startClustered(t, redis.url, LAPSING)
  const session = await RawClient.connected(t, a.port, { clientId: 'ward', clean: false })
  await session.subscribe({ 'home/+': 2, 'vital/+': 1 })
  const publishers = await Promise.all([1, 2, 2].map(() => RawClient.connected(t, a.port)))
  await until(() => a.cluster.whenCopied() === null)
  const b = await startClustered(t, redis.url)
  await until(() => b.cluster.statistics().sessionsAdopted === 1, 'the adoption')
  for (const [at, publisher] of publishers.entries()) {
    publisher.send(publishPacket(1, { topic: ['home/a', 'home/b', 'vital/c'][at]!, qos: at === 0 ? 1 : 2 }))
  }
  const told = a.broker.publish({ topic: 'vital/d', payload: Buffer.from('{}'), qos: 1 })
  await t.rejects(told ?? Promise.resolve(), { code: 'VITAL_GATEWAY_REPLACED' }, 'so that HTTP answers 503')
  await Promise.all([session, ...publishers].map((client) => client.closed()))
  t.strictSame(publishers.flatMap((client) => [...client.of('puback'), ...client.of('pubrec')]), [])
  const again = await RawClient.connected(t, a.port)
  again.send(publishPacket(1, { topic: 'home/a', qos: 1 }), publishPacket(2, { topic: 'home/b', qos: 2 }))
  await Promise.all([again.waitFor('puback'), again.waitFor('pubrec')])
  const back = await RawClient.connected(t, b.port, { clientId: 'ward', clean: false })
  await back.waitFor('publish', 2)
  await settleDown()
  t.strictSame(back.of('publish').map(({ topic }) => topic), ['home/a', 'home/b'], 'once each, from the gateway that adopted it')
})

t.test('a gateway whose lease has lapsed, but whose sessions were not adopted, goes on', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const a = await startClustered(t, redis.url, LAPSING)
  const session = await RawClient.connected(t, a.port, { clientId: 'ward', clean: false })
  await session.subscribe({ 'home/+': 1 })
  const publisher = await RawClient.connected(t, a.port)
  await until(async () => await redis.client.exists(`vital:lease:${a.cluster.name}`) === 0, 'the lease to end')
  publisher.send(publishPacket(1, { topic: 'home/a' }))
  await settleDown()
  t.equal(publisher.of('puback').length, 0, 'until it has a lease again')
  await publisher.waitFor('puback')
  t.equal(await redis.client.exists(`vital:lease:${a.cluster.name}`), 1)
  t.notOk(session.isClosed)
})

const NONE_ARRIVES = { setAside: () => 0, settled: () => Promise.resolve() }

t.test('the first call settles first, even if it has to try again', async (t) => {
  const flushes: Array<() => void> = []
  const joining = { isJoined: true, isInDoubt: false, term: 0 }
  const { whenCopied } = createCopies({
    store: { isBehind: true, flush: () => new Promise((resolve) => { flushes.push(resolve) }) },
    outbox: { isEmpty: true, settled: () => Promise.resolve() },
    arrivals: NONE_ARRIVES,
    joining,
    timeoutMs: 60_000
  })
  const settled: string[] = []
  const ask = async (name: string) => {
    const flushesBefore = flushes.length
    whenCopied()?.then(() => { settled.push(name) }, () => {})
    await until(() => flushes.length > flushesBefore)
  }
  await ask('first')
  joining.isInDoubt = true
  flushes[0]!()
  await settleDown()
  await Promise.all([ask('second'), Promise.resolve().then(() => { joining.isInDoubt = false })])
  await until(() => flushes.length === 3)
  flushes[1]!()
  await settleDown()
  const before = [...settled]
  flushes[2]!()
  await until(() => settled.length === 2)
  t.strictSame([before.includes('second') && !before.includes('first'), settled], [false, ['first', 'second']])
})

t.test('a caller that is settled and asks again comes behind those that wait', async (t) => {
  const store = { isBehind: true, flush: () => Promise.resolve() }
  const { whenCopied } = createCopies({
    store,
    outbox: { isEmpty: true, settled: () => Promise.resolve() },
    arrivals: NONE_ARRIVES,
    joining: { isJoined: true, isInDoubt: false, term: 0 },
    timeoutMs: 60_000
  })
  const told: string[] = []
  const ask = (then: () => void) => {
    const copied = whenCopied()
    if (copied === null) then()
    else copied.then(then, () => {})
  }
  ask(() => {
    store.isBehind = false
    ask(() => { told.push('asked again') })
  })
  ask(() => { told.push('waits') })
  await until(() => told.length === 2)
  t.strictSame(told, ['waits', 'asked again'])
})

t.test('with messages set aside for a session, callers wait until the session has arrived and is written', async (t) => {
  const steps: string[] = []
  let arrive = () => {}
  let setAside = 0
  const { whenCopied } = createCopies({
    store: {
      isBehind: false,
      async flush () { steps.push('written') }
    },
    outbox: { isEmpty: true, settled: () => Promise.resolve() },
    arrivals: { setAside: () => setAside, settled: () => new Promise((resolve) => { arrive = resolve }) },
    joining: { isJoined: true, isInDoubt: false, term: 0 },
    timeoutMs: 60_000
  })
  t.equal(whenCopied(), null)
  setAside = 2
  const ask = () => whenCopied()?.then(() => { steps.push('acknowledged') })
  const asked = ask()
  await settleDown()
  const later = ask()
  await settleDown()
  t.strictSame(steps, [])
  steps.push('arrived')
  arrive()
  await Promise.all([asked, later])
  t.strictSame(steps, ['arrived', 'written', 'acknowledged', 'acknowledged'])
  await settleDown()
  t.equal(whenCopied(), null, 'nothing was set aside since')
})
