import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Verdict, VitalPublish } from '../../broker/ingest.ts'
import { exactly } from '../helpers/exactly.ts'
import { createTestDir } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'
import { startScriptedBroker, startUpstream } from './scripted-broker.ts'

const DURABLE: Verdict = { status: 'durable', fanOut: null, rejections: [], elements: 1, isKept: true }
const REFUSED: Verdict = { status: 'unavailable', reason: 'timeout' }
const store = (publish: VitalPublish) => { publish.settle(DURABLE) }

t.test('a broker that lacks a capability, or refuses, stops the start with a message that says why', async (t) => {
  const broker = await startScriptedBroker(t)
  for (const [script, why] of [
    [{ rawConnack: Buffer.from([0x20, 2, 0, 1]) }, /refused the connection \(0x84, .*\): it does not speak MQTT 5/],
    [{ connack: { reasonCode: 0x86 } }, /refused the connection \(0x86, bad user name or password\): set VITAL_BRIDGE_USERNAME/],
    [{ connack: { reasonCode: 0x85, properties: { reasonString: 'too long' } } }, /\(0x85, client identifier not valid, too long\)/],
    [{ connack: { properties: { sharedSubscriptionAvailable: false } } }, /has no shared subscriptions \(0x9e/],
    [{ connack: { properties: { wildcardSubscriptionAvailable: false } } }, /has no subscriptions with wildcards/],
    [{ granted: 0x9e }, /refused the subscription to \$share\/vital-gateway\/vital\/\+ \(0x9e/],
    [{ granted: 0x87 }, /\(0x87, not authorized\): let this user/],
    [{ granted: 0 }, /grants QoS 0 for \$share.*keep nothing/]
  ] as const) {
    broker.tell(script)
    const { upstream } = await startUpstream(t, broker.url, store)
    await t.rejects(upstream.start(), why)
    await upstream.stop()
  }
  const { upstream } = await startUpstream(t, broker.url, store, {
    variables: { VITAL_BRIDGE_USERNAME: 'u', VITAL_BRIDGE_PASSWORD_FILE: '/nowhere/password' }
  })
  await t.rejects(upstream.start(), /VITAL_BRIDGE_PASSWORD_FILE=\/nowhere\/password cannot be read/)
})

t.test('after a temporary refusal the bridge connects again', async (t) => {
  const broker = await startScriptedBroker(t)
  broker.tell({ connack: { reasonCode: 0x89 } })
  const { upstream } = await startUpstream(t, broker.url, store)
  await upstream.start()
  t.match(upstream.warnings(), exactly(/refused the connection \(0x89, server busy\)/))
  t.notOk(upstream.statistics().isSubscribed)
  broker.tell({})
  await until(() => upstream.statistics().isSubscribed)
  t.same(upstream.warnings(), [])
})

t.test('each connection asks for the same session, with the configured user', async (t) => {
  const broker = await startScriptedBroker(t)
  const dataDir = await createTestDir(t)
  const passwordFile = join(dataDir, 'password')
  const password = randomBytes(6).toString('hex')
  await writeFile(passwordFile, `${password}\n`)
  const variables = { VITAL_BRIDGE_USERNAME: 'bridge', VITAL_BRIDGE_PASSWORD_FILE: passwordFile }
  const { upstream } = await startUpstream(t, broker.url, store, { dataDir, variables })
  await upstream.start()
  await upstream.stop()
  await until(() => broker.all('disconnect').length === 1, 'the bridge to send DISCONNECT')
  const again = await startUpstream(t, broker.url, store, { dataDir, variables })
  await again.upstream.start()
  const [first, second] = broker.connects()
  t.match(first, {
    clean: false, username: 'bridge', password: Buffer.from(password), properties: { sessionExpiryInterval: 604_800, receiveMaximum: 8192 }
  })
  t.equal(second!.clientId, first!.clientId)
})

t.test('a session that the broker dropped or keeps for a shorter time, and messages that expire, are warned of', async (t) => {
  const broker = await startScriptedBroker(t)
  const { upstream, statistics } = await startUpstream(t, broker.url, store)
  await upstream.start()
  t.same(upstream.warnings(), [], 'a first session is a new one')
  await until(async () => statistics().isSubscribed)
  broker.tell({ isSessionPresent: false, connack: { properties: { sessionExpiryInterval: 60 } } })
  broker.drop()
  await until(() => statistics().subscribed === 2)
  broker.publish(1, { properties: { messageExpiryInterval: 5 } })
  await until(() => statistics().expiring === 1)
  t.equal(statistics().sessionsLost, 1)
  t.match(upstream.warnings(), exactly(/for 60 s, and 604800 s were asked for/, /did not keep the session/, /Message Expiry Interval/))
})

t.test('a message that comes twice on one connection is answered once; beyond Receive Maximum reading stops', async (t) => {
  const broker = await startScriptedBroker(t)
  const held: VitalPublish[] = []
  const { upstream, statistics } = await startUpstream(t, broker.url, (publish) => { held.push(publish) }, {
    limits: { receiveMaximum: 2 }
  })
  await upstream.start()
  broker.publish(1)
  broker.publish(1, { dup: true })
  broker.publish(2)
  await until(() => statistics().qos1 === 3)
  t.equal(held.length, 2)
  for (const publish of held.splice(0).reverse()) publish.settle(DURABLE)
  await until(() => broker.acknowledged().length === 2)
  t.same(broker.acknowledged(), [1, 2])
  for (const messageId of [3, 4, 5]) broker.publish(messageId)
  await until(() => !statistics().isReading)
  const done = setInterval(() => { for (const publish of held.splice(0)) publish.settle(DURABLE) }, 1)
  t.teardown(() => { clearInterval(done) })
  await until(() => broker.acknowledged().length === 5)
  t.same([broker.acknowledged(), broker.connects().length], [[1, 2, 3, 4, 5], 1])
})

t.test('a broker that falls silent is left, and the bridge connects again', async (t) => {
  const broker = await startScriptedBroker(t)
  const { upstream, lines } = await startUpstream(t, broker.url, store, { limits: { keepAliveS: 1 } })
  await upstream.start()
  await until(() => broker.all('pingreq').length > 1, 'it is asked')
  t.equal(broker.connects().length, 1)
  broker.freeze()
  await until(() => broker.connects().length === 2)
  t.ok(lines.some((line) => line.startsWith('no connection to the broker')))
})

t.test('above the bound of bytes, and while ingest pauses reading, nothing is read; pings go on', async (t) => {
  const broker = await startScriptedBroker(t)
  const held: VitalPublish[] = []
  const { upstream, statistics } = await startUpstream(t, broker.url, (publish) => { held.push(publish) }, {
    limits: { keepAliveS: 1, heldBytesMax: 100_000 }
  })
  await upstream.start()
  const payload = 'x'.repeat(10_000)
  for (let messageId = 1; messageId <= 1000; messageId++) broker.publish(messageId, { payload })
  await until(() => !statistics().isReading)
  const pings = broker.all('pingreq').length
  await until(() => broker.all('pingreq').length > pings + 2)
  t.ok(held.length < 30, 'one chunk of the socket beyond the bound at most')
  t.equal(broker.connects().length, 1, 'unread answers to pings do not count as silence')
  for (const publish of held.splice(0)) publish.settle(DURABLE)
  await until(() => held.length > 0, 'it goes on')

  upstream.pauseReading()
  for (const publish of held.splice(0)) publish.settle(REFUSED)
  t.notOk(statistics().isReading)
  t.equal(held.length, 0, 'refused messages wait')
  upstream.resumeReading()
  t.ok(held.length > 0, 'and are tried again')
  const done = setInterval(() => { for (const publish of held.splice(0)) publish.settle(DURABLE) }, 1)
  t.teardown(() => { clearInterval(done) })
  await until(() => broker.acknowledged().length === 1000)
  t.same(broker.acknowledged(), Array.from({ length: 1000 }, (_, index) => index + 1))
})
