/** Wills of clients whose gateway dies, is frozen, or stops. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { IConnectPacket } from 'mqtt-packet'
import t, { type Test } from 'tap'
import { publishPacket, RawClient, settleDown } from '../../helpers/broker.ts'
import { spawnGateway } from '../../helpers/gateway-process.ts'
import { authenticateByName, login } from '../../helpers/principals.ts'
import {
  type ClusteredBroker, NO_REDIS, type RunningRedis, startCable, startClustered, startRedis
} from '../../helpers/redis.ts'
import { until } from '../../helpers/until.ts'

const SKIP = { skip: NO_REDIS }

type Options = Partial<IConnectPacket>
type Will = NonNullable<IConnectPacket['will']>

const PROGRAM = 'test/broker/cluster/killed-broker.ts'

const will = (name: string, more: Partial<Will> = {}): Will =>
  ({ topic: `home/${name}`, payload: Buffer.from('gone'), qos: 1, retain: false, ...more })

/** A client of MQTT 5 whose session outlives its connection. */
const session5 = (clientId: string, delayS: number, { clean = false, expiryS = 60 } = {}): Options => ({
  protocolVersion: 5,
  clientId,
  clean,
  properties: { sessionExpiryInterval: expiryS },
  will: will(clientId, { properties: { willDelayInterval: delayS } })
})

const without = ({ will: _, ...options }: Options): Options => options
const willsOf = (watcher: RawClient, name: string) =>
  watcher.messages().filter((text) => text === `home/${name} gone`).length

/** A gateway that can be killed and frozen, and two that live; a watcher at each of these. */
async function start (t: Test) {
  const redis = await startRedis(t)
  const [b, c] = [await startClustered(t, redis.url), await startClustered(t, redis.url)]
  const a = await spawnGateway(t, { REDIS_URL: redis.url }, { program: PROGRAM })
  const port = (await a.said(/^listening$/)).port!
  const watchers = await Promise.all([b, c].map(async (gateway) => {
    const watcher = await RawClient.connected(t, gateway.port)
    await watcher.subscribe({ '#': 1 })
    return watcher
  })) as [RawClient, RawClient]
  const connected = (options: Options) => RawClient.connected(t, port, options)
  const kill = async () => {
    a.child.kill('SIGKILL')
    await a.exited
  }
  /** Nothing is left of the dead one. */
  const buried = () => until(async () => await redis.client.scard('vital:gateways') === 2, 'the adoption')
  return { redis, a, b, c, port, watchers, connected, kill, buried }
}

const publishedBy = (...gateways: readonly ClusteredBroker[]) =>
  gateways.reduce((sum, { cluster }) => sum + cluster.statistics().willsPublished, 0)

const willIn = async ({ client }: RunningRedis, clientId: string) =>
  await client.hexists(`vital:client:${clientId}`, 'w') === 1

/** Redis has when a will that waits is due. */
const isWaiting = async ({ client }: RunningRedis, clientId: string) =>
  (await client.hget(`vital:client:${clientId}`, 'w'))?.includes('"at":') === true

t.test('the wills of clients of a killed gateway are published once, each as its client asked for', SKIP, async (t) => {
  const { redis, b, c, watchers, connected, kill, buried } = await start(t)
  await connected({ clientId: 'plain', will: will('plain', { qos: 0 }) })
  await connected({ clientId: 'kept', clean: false, will: will('kept', { retain: true }) })
  await connected({ protocolVersion: 5, clientId: 'five', will: will('five') })
  await connected({ clientId: 'band-1', will: { ...will(''), topic: 'vital/band-1', payload: Buffer.from('{"timestamp":1}') } })
  await connected({ clientId: 'silent' })
  const orderly = await connected({ clientId: 'orderly', will: will('orderly') })
  const orderly5 = await connected(session5('orderly-5', 0))
  orderly.send({ cmd: 'disconnect' })
  orderly5.send({ cmd: 'disconnect', reasonCode: 0 })
  await Promise.all([orderly.closed(), orderly5.closed()])
  for (const clientId of ['orderly', 'orderly-5']) await until(async () => !await willIn(redis, clientId), 'it is deleted')
  await kill()
  await buried()
  await settleDown()
  for (const watcher of watchers) {
    const expected = ['home/five gone', 'home/kept gone', 'home/plain gone', 'vital/band-1 {"timestamp":1}']
    t.strictSame(watcher.messages().sort(), expected)
    t.equal(watcher.of('publish').find(({ topic }) => topic === 'home/plain')!.qos, 0)
    t.equal(watcher.of('publish').find(({ topic }) => topic === 'home/kept')!.qos, 1)
  }
  const seen = [...b.ingest.seen, ...c.ingest.seen].map(({ topic, device, clientId }) => ({ topic, device, clientId }))
  t.strictSame(seen, [{ topic: 'vital/band-1', device: 'band-1', clientId: 'band-1' }], 'a reading goes to ingest, once')
  t.equal(publishedBy(b, c), 4)
  const late = await RawClient.connected(t, c.port, { protocolVersion: 5 })
  await late.subscribe({ 'home/#': 1 })
  await late.waitFor('publish')
  t.strictSame(late.messages(), ['home/kept gone'], 'one that is retained stays')
  t.strictSame((await redis.client.keys('vital:client:*')).filter((key) => /plain|five|band-1|silent/.test(key)), [])
})

t.test('properties of a will of MQTT 5 are passed on', SKIP, async (t) => {
  const { b, connected, kill } = await start(t)
  const watcher = await RawClient.connected(t, b.port, { protocolVersion: 5 })
  await watcher.subscribe({ 'home/#': 1 })
  const properties = { userProperties: { ward: ['1', '2'] }, contentType: 'text/plain', messageExpiryInterval: 60 }
  await connected({ protocolVersion: 5, clientId: 'five', will: will('five', { properties }) })
  await kill()
  await watcher.waitFor('publish')
  const [{ properties: passed } = {}] = watcher.of('publish')
  t.match(passed, { userProperties: { ward: ['1', '2'] }, contentType: 'text/plain' })
  t.ok(passed!.messageExpiryInterval! >= 58, 'it expires so long after it was published')
})

t.test('CONNACK says that Redis has the will; a client without one costs nothing', SKIP, async (t) => {
  const redis = await startRedis(t)
  // Nothing is written behind meanwhile, and no lease is renewed.
  const clusterLimits = { saveDelayMs: 60_000, renewIntervalMs: 60_000, leaseMs: 120_000 }
  const a = await startClustered(t, redis.url, { clusterLimits })
  for (const [clientId, options] of Object.entries({
    clean: { will: will('x') },
    kept: { clean: false, will: will('x') },
    five: session5('five', 1),
    'clean-5': { protocolVersion: 5, will: will('x') }
  } satisfies Record<string, Options>)) {
    const client = await RawClient.connected(t, a.port, { clientId, ...options })
    t.ok(await willIn(redis, clientId), clientId)
    client.send({ cmd: 'disconnect' })
    await client.closed()
  }
  const evals = async () => Number(/cmdstat_eval:calls=(\d+)/.exec(await redis.client.info('commandstats'))?.[1])
  const before = await evals()
  await RawClient.connected(t, a.port, { clientId: 'no-will' })
  await RawClient.connected(t, a.port, { clientId: 'no-will-5', protocolVersion: 5 })
  t.equal(await evals() - before, 2, 'only their claims')
  t.strictSame((await redis.client.hkeys('vital:client:no-will')).sort(), ['e', 'o', 'p'])
})

t.test('a will follows its client: replaced by a later CONNECT, dropped with it', SKIP, async (t) => {
  const { redis, watchers: [watcher], connected, kill, buried } = await start(t)
  const first = await connected({ clientId: 'lk', clean: false, will: will('first') })
  await connected({ clientId: 'lk', clean: false, will: will('second') })
  await first.closed()
  await until(() => willsOf(watcher, 'first') === 1, 'a takeover publishes the will of 3.1.1')
  await connected({ clientId: 'other', clean: false, will: will('other') })
  await connected({ clientId: 'other', clean: false })
  await until(() => willsOf(watcher, 'other') === 1)
  await until(async () => !await willIn(redis, 'other'))
  await kill()
  await buried()
  await settleDown()
  t.strictSame(watcher.messages().sort(), ['home/first gone', 'home/other gone', 'home/second gone'])
})

t.test('a client that comes back before its will with a delay is due cancels it, wherever it comes back', SKIP, async (t) => {
  const { b, c, watchers, connected, kill, buried } = await start(t)
  const options = [...Array(4).keys()].map((n) => session5(`band-${n}`, 3))
  for (const each of options) await connected(each)
  await connected(session5('fresh', 60))
  await connected(session5('plain', 0))
  await connected({ clientId: 'old', clean: false, will: will('old') })
  await kill()
  // Before the lease has ended.
  const comeBack = (each: Options, n: number) => RawClient.connected(t, [b, c][n]!.port, without(each))
  const back = await Promise.all(options.slice(0, 2).map(comeBack))
  await buried()
  back.push(...await Promise.all(options.slice(2).map(comeBack)))
  for (const client of back) t.ok(client.of('connack')[0]!.sessionPresent)
  for (const name of ['old', 'plain']) await until(() => willsOf(watchers[0], name) === 1, 'one without a delay is due')
  t.equal(willsOf(watchers[0], 'fresh'), 0)
  // It ends its session, whichever gateway has that.
  await RawClient.connected(t, c.port, { ...without(session5('fresh', 60, { clean: true })) })
  await until(() => willsOf(watchers[0], 'fresh') === 1, 'a session that ends publishes the will')
  await sleep(3500)
  const expected = ['home/fresh gone', 'home/old gone', 'home/plain gone']
  for (const watcher of watchers) t.strictSame(watcher.messages().sort(), expected)
})

t.test('a will with a delay waits at the adopter, and goes on from there when that one dies too', SKIP, async (t) => {
  const redis = await startRedis(t)
  const spawn = () => spawnGateway(t, { REDIS_URL: redis.url }, { program: PROGRAM })
  const [a, b] = [await spawn(), await spawn()]
  const port = (await a.said(/^listening$/)).port!
  await b.said(/^listening$/)
  const left = await RawClient.connected(t, port, session5('left', 5))
  left.socket.destroy()
  const leftAtMs = performance.now()
  await RawClient.connected(t, port, session5('there', 2))
  await until(() => isWaiting(redis, 'left'))
  a.child.kill('SIGKILL')
  await until(async () => await redis.client.scard('vital:gateways') === 1, 'b has adopted a')
  t.ok(await isWaiting(redis, 'there'), 'it waits at b')
  b.child.kill('SIGKILL')
  const c = await startClustered(t, redis.url)
  const watcher = await RawClient.connected(t, c.port)
  await watcher.subscribe({ 'home/#': 1 })
  await until(() => willsOf(watcher, 'there') === 1)
  await until(() => willsOf(watcher, 'left') === 1)
  t.ok(performance.now() - leftAtMs >= 5000, 'not before it would have been due')
  await settleDown()
  t.strictSame(watcher.messages(), ['home/there gone', 'home/left gone'])
})

t.test('a gateway that was frozen for longer than its lease publishes no will that another one has', SKIP, async (t) => {
  const { redis, a, port, watchers, connected, buried } = await start(t)
  const stays = await connected({ clientId: 'stays', will: will('stays') })
  const keeps = await connected({ clientId: 'keeps', clean: false, will: will('keeps') })
  const five = await connected({ protocolVersion: 5, clientId: 'five', will: will('five') })
  const waits = await connected(session5('waits', 1))
  const silent = await connected({ clientId: 'silent' })
  const leaves = await connected({ clientId: 'leaves', clean: false, will: will('leaves') })
  const readingWill = { ...will(''), topic: 'vital/band-1', payload: Buffer.from('{"timestamp":1}') }
  const reads = await connected({ clientId: 'band-1', will: readingWill })
  const later = await connected(session5('later', 2))
  later.socket.destroy()
  await until(() => isWaiting(redis, 'later'))
  a.child.kill('SIGSTOP')
  for (const { socket } of [leaves, reads]) socket.destroy()
  await buried()
  await until(() => watchers[0].messages().length === 7, 'the adopter has published them')
  a.child.kill('SIGCONT')
  await Promise.all([stays, keeps, five, waits].map((client) => client.closed()))
  await until(async () => await redis.client.scard('vital:gateways') === 3, 'it has joined again')
  t.notOk(silent.isClosed, 'a client without a will stays')
  await sleep(2500)
  const once = ['five', 'keeps', 'later', 'leaves', 'stays', 'waits'].map((name) => `home/${name} gone`)
  for (const watcher of watchers) t.strictSame(watcher.messages().sort(), [...once, 'vital/band-1 {"timestamp":1}'])
  t.notOk(a.lines.some(({ msg }) => msg === 'ingested'), 'it has stored none either')
  const again = await RawClient.connected(t, port, { clientId: 'stays', will: will('stays') })
  again.socket.destroy()
  await until(() => willsOf(watchers[0], 'stays') === 2, 'a will of a later connection is its own')
})

/** A gateway that can be frozen, and a watcher at another one that does not look for dead gateways meanwhile. */
async function startUnwatched (t: Test) {
  const redis = await startRedis(t)
  const b = await startClustered(t, redis.url, { clusterLimits: { renewIntervalMs: 60_000, leaseMs: 120_000 } })
  const watcher = await RawClient.connected(t, b.port)
  await watcher.subscribe({ 'home/#': 1 })
  const a = await spawnGateway(t, { REDIS_URL: redis.url }, { program: PROGRAM })
  const port = (await a.said(/^listening$/)).port!
  const stays = await RawClient.connected(t, port, { clientId: 'stays', will: will('stays') })
  const leaves = await RawClient.connected(t, port, { clientId: 'leaves', will: will('leaves') })
  const name = await redis.client.hget('vital:client:stays', 'o')
  const freeze = async () => {
    a.child.kill('SIGSTOP')
    leaves.socket.destroy()
    await until(async () => await redis.client.exists(`vital:lease:${name}`) === 0, 'the end of its lease')
  }
  /** @returns once it has published the will of the client that left meanwhile */
  const thaw = async () => {
    a.child.kill('SIGCONT')
    await until(() => willsOf(watcher, 'leaves') === 1)
    await settleDown()
    t.strictSame(watcher.messages(), ['home/leaves gone'])
    t.notOk(stays.isClosed)
    t.ok(await willIn(redis, 'stays'))
  }
  return { redis, name, freeze, thaw }
}

t.test('a gateway that was frozen, and that nobody has adopted, publishes the wills itself', SKIP, async (t) => {
  const { freeze, thaw } = await startUnwatched(t)
  await freeze()
  await thaw()
})

t.test('a gateway that comes back amid its adoption publishes what was not taken yet', SKIP, async (t) => {
  const { redis, name, freeze, thaw } = await startUnwatched(t)
  await freeze()
  await redis.client.set(`vital:adoption:${name}`, 'a gateway that died')
  await thaw()
})

t.test('the will of a client that comes back comes before what it publishes then', SKIP, async (t) => {
  const { b, c, watchers, connected, kill } = await start(t)
  const ids = Array.from({ length: 20 }, (_, index) => `band-${index}`)
  for (const clientId of ids) await connected({ clientId, will: will(clientId, { retain: true }) })
  await kill()
  await Promise.all(ids.map(async (clientId, index) => {
    const client = await RawClient.connected(t, [b, c][index % 2]!.port, { clientId })
    client.send(publishPacket(1, { topic: `home/${clientId}`, payload: 'back', retain: true }))
    await client.waitFor('puback')
  }))
  for (const watcher of watchers) {
    await watcher.waitFor('publish', 2 * ids.length)
    for (const clientId of ids) {
      const payloads = watcher.of('publish').filter(({ topic }) => topic === `home/${clientId}`).map(({ payload }) => `${payload}`)
      t.strictSame(payloads, ['gone', 'back'], clientId)
    }
  }
  for (const { port } of [b, c]) {
    const late = await RawClient.connected(t, port)
    await late.subscribe({ 'home/#': 1 })
    await late.waitFor('publish', ids.length)
    t.ok(late.messages().every((text) => text.endsWith(' back')), 'what is retained says so')
  }
})

t.test('a gateway that stops: its clients did not fail, but one that had failed before did', SKIP, async (t) => {
  const { redis, a, watchers, connected, buried } = await start(t)
  const left = await connected(session5('left', 2))
  left.socket.destroy()
  await until(() => isWaiting(redis, 'left'))
  await connected({ clientId: 'plain', will: will('plain') })
  await connected(session5('five', 2))
  a.child.kill('SIGTERM')
  await a.exited
  await buried()
  await until(() => willsOf(watchers[0], 'left') === 1)
  await sleep(2000)
  t.strictSame(watchers[0].messages(), ['home/left gone'])
})

t.test('an adopter that dies before it has taken the wills leaves them to the next one', SKIP, async (t) => {
  const redis = await startRedis(t)
  const [cableOfA, cableOfB] = [await startCable(t, redis.port), await startCable(t, redis.port)]
  const [a, b] = [await startClustered(t, cableOfA.url), await startClustered(t, cableOfB.url)]
  await RawClient.connected(t, a.port, { clientId: 'plain', will: will('plain') })
  await RawClient.connected(t, a.port, session5('five', 1))
  cableOfB.holdAnswerTo((sent) => sent.includes('HGETALL'))
  cableOfA.cut()
  await until(() => cableOfB.isHolding, 'b adopts')
  cableOfB.cut()
  const c = await startClustered(t, redis.url)
  const watcher = await RawClient.connected(t, c.port)
  await watcher.subscribe({ 'home/#': 1 })
  await until(() => willsOf(watcher, 'plain') === 1 && willsOf(watcher, 'five') === 1)
  t.equal(publishedBy(b), 0)
  cableOfB.mend()
  await until(() => b.cluster.statistics().isUp, 'b is back')
  await sleep(1500)
  t.strictSame(watcher.messages().sort(), ['home/five gone', 'home/plain gone'])
})

t.test('a client without a session waits for the adoption too: its will is published before its CONNACK', SKIP, async (t) => {
  const redis = await startRedis(t)
  const [cableOfA, cableOfB] = [await startCable(t, redis.port), await startCable(t, redis.port)]
  const [a, b] = [await startClustered(t, cableOfA.url), await startClustered(t, cableOfB.url)]
  await RawClient.connected(t, a.port, { clientId: 'lk', will: will('lk') })
  // Until its time limit for a command has passed.
  cableOfB.holdAnswerTo((sent) => sent.includes('HGETALL'))
  cableOfA.cut()
  await until(() => cableOfB.isHolding, 'b adopts')
  const c = await startClustered(t, redis.url)
  const watcher = await RawClient.connected(t, c.port)
  await watcher.subscribe({ 'home/#': 1 })
  await RawClient.connected(t, c.port, { clientId: 'lk' })
  t.equal(publishedBy(b, c), 1)
  await watcher.waitFor('publish')
  t.strictSame(watcher.messages(), ['home/lk gone'])
})

t.test('the will of a principal that does not count any more is dropped', SKIP, async (t) => {
  const redis = await startRedis(t)
  const cable = await startCable(t, redis.port)
  const authenticate = authenticateByName
  const asked: Array<string | undefined> = []
  const a = await startClustered(t, cable.url, { authenticate })
  const b = await startClustered(t, redis.url, {
    authenticate,
    isCurrent: (principal) => {
      asked.push(principal?.id)
      return principal?.id !== 'revoked'
    }
  })
  const vitalWill = (id: string) => ({ ...will(''), topic: `vital/${id}`, payload: Buffer.from('{"timestamp":1}') })
  for (const id of ['revoked', 'valid']) await RawClient.connected(t, a.port, { ...login(id), will: vitalWill(id) })
  const watcher = await RawClient.connected(t, b.port, login('operator:nurse', 'desk'))
  await watcher.subscribe({ 'vital/#': 1 })
  cable.cut()
  await watcher.waitFor('publish')
  await settleDown()
  t.strictSame(watcher.messages(), ['vital/valid {"timestamp":1}'])
  t.strictSame(asked.sort(), ['revoked', 'valid'])
})

t.test('Redis away at CONNECT: the will is written once it is back', SKIP, async (t) => {
  const redis = await startRedis(t)
  const cable = await startCable(t, redis.port)
  const a = await startClustered(t, cable.url)
  await until(() => a.cluster.statistics().isUp)
  cable.cut()
  await until(() => !a.cluster.statistics().isUp)
  const client = await RawClient.connected(t, a.port, { clientId: 'lk', will: will('lk') })
  t.notOk(await willIn(redis, 'lk'))
  cable.mend()
  await until(async () => await willIn(redis, 'lk'), 'Redis has it')
  t.notOk(client.isClosed)
  await redis.client.flushall()
  await until(async () => await willIn(redis, 'lk'), 'an emptied Redis gets it again')
  t.notOk(client.isClosed, 'nobody has published it')
})
