/** Aedes' private parts that broker/aedes-client.ts relies on. An upgrade that changes one of them fails here. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { Aedes, type AedesOptions, type Client, type PublishPacket } from 'aedes'
import mqttPacket, { type Packet } from 'mqtt-packet'
import t, { type Test } from 'tap'
import * as aedesClient from '../../broker/aedes-client.ts'
import { connectPacket, publishPacket, settleDown } from '../helpers/broker.ts'
import { exactly } from '../helpers/exactly.ts'
import { until } from '../helpers/until.ts'

const ROOT = join(import.meta.dirname, '../..')

/** A client of a bare Aedes, over a stream in memory. */
async function connect (t: Test, options: AedesOptions = {}, packets: Packet[] = [connectPacket({ clientId: 'a', keepalive: 60 })]) {
  const aedes = await Aedes.createBroker(options)
  aedesClient.allowDeepTopics(aedes)
  t.teardown(() => new Promise<void>((resolve) => { aedes.close(resolve) }))
  const errors: Error[] = []
  aedes.on('clientError', (_client, error) => { errors.push(error) })
  aedes.on('connectionError', (_client, error) => { errors.push(error) })
  const state = { takesWrites: true }
  const stream = new Duplex({
    read () {},
    write (_chunk, _encoding, done) { if (state.takesWrites) done() },
    writableHighWaterMark: 1
  })
  const send = (...packets: Packet[]) => { stream.push(Buffer.concat(packets.map((packet) => mqttPacket.generate(packet)))) }
  const client = aedes.handle(stream)
  if (packets.length > 0) {
    send(...packets)
    await until(() => (client as Client & { connackSent: boolean }).connackSent, 'CONNACK')
  }
  return { aedes, client, stream, send, errors, state }
}

t.test('the version of Aedes is the one whose source was read', async (t) => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'node_modules/aedes/package.json'), 'utf8')) as { version: string }
  t.equal(version, '1.2.0', 'read lib/client.js and lib/handlers of the new one, then change this line and broker/aedes-client.ts')
})

t.test('no other file touches private members of Aedes', async (t) => {
  for (const path of readdirSync(join(ROOT, 'broker'), { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.ts'))) {
    if (path === 'aedes-client.ts') continue
    const text = readFileSync(join(ROOT, 'broker', path), 'utf8')
    t.notMatch(text, /\.(?:_parser|_parsingBatch|_nextBatch|_keepalive\w+|_disconnected|waitForDrain|maxTopicLevels|broker)\b/, path)
    t.notMatch(text, /as (?:unknown as )?Client &|extends Client \{\n {2}(?!\[CONNECTION\])/, path)
  }
})

t.test('a client is read while its publishes are held, and not once it is closed', async (t) => {
  const held: PublishPacket[] = []
  const { client, send } = await connect(t, { authorizePublish: (_client, packet) => { held.push(packet) } })
  send(publishPacket(1), publishPacket(2), publishPacket(3))
  await until(() => held.length === 3, 'three publishes')
  send(publishPacket(4))
  await settleDown()
  t.equal(held.length, 3, 'Aedes by itself waits for three events')
  aedesClient.readOn(client)
  await until(() => held.length === 4, 'the fourth')
  const closed = await connect(t)
  closed.client.close()
  t.doesNotThrow(() => { aedesClient.readOn(closed.client) })
})

t.test('granted subscriptions, by filter', async (t) => {
  const { client, send } = await connect(t)
  send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a/+', qos: 1 }] })
  await until(() => 'a/+' in aedesClient.subscriptionsOf(client), 'the subscription')
  t.match(aedesClient.subscriptionsOf(client)['a/+'], { qos: 1 })
  t.notOk('constructor' in aedesClient.subscriptionsOf(client))
})

t.test('the keepalive timer starts anew', async (t) => {
  const { client, errors } = await connect(t, {}, [connectPacket({ clientId: 'a', keepalive: 1 })])
  for (let count = 0; count < 20; count++) {
    await sleep(100)
    aedesClient.refreshKeepalive(client)
  }
  t.strictSame([client.closed, errors], [false, []], 'after 2 s, which is more than 1.5 times the keepalive')
  await until(() => client.closed, 'the keepalive to end')
  t.match(errors, exactly({ message: 'keep alive timeout' }))
})

t.test('DISCONNECT is noted', async (t) => {
  const { client, send } = await connect(t)
  t.equal(aedesClient.hasDisconnected(client), false)
  send({ cmd: 'disconnect' })
  await until(() => client.closed, 'the end')
  t.equal(aedesClient.hasDisconnected(client), true)
})

t.test('a will, from its CONNECT until its client has closed', async (t) => {
  const will = { topic: 'home/x', payload: Buffer.from('gone'), qos: 1, retain: true } as const
  for (const isDropped of [false, true]) {
    const seen: unknown[] = []
    const published: string[] = []
    const { client } = await connect(t, {
      authenticate: (client, _username, _password, done) => {
        seen.push(new aedesClient.AedesClient(client).will)
        done(null, true)
      },
      authorizePublish: (_client, { topic }, done) => {
        published.push(topic)
        done(null)
      }
    }, [connectPacket({ clientId: 'a', will })])
    const ours = new aedesClient.AedesClient(client)
    t.same([...seen, ours.will], Array(2).fill({ ...will, messageExpiryS: null, forwarded: null }))
    t.equal(ours.will, ours.will, 'the same object each time')
    if (isDropped) {
      ours.dropWill()
      t.equal(ours.will, null)
    }
    client.close()
    t.strictSame(published, isDropped ? [] : ['home/x'])
    t.equal(ours.will, null)
  }
  const { client } = await connect(t)
  t.equal(new aedesClient.AedesClient(client).will, null)
})

t.test('a drain is called back, a drain that does not come closes the client', async (t) => {
  const drained = await connect(t, { drainTimeout: 10_000 })
  let error: Error | null | undefined = new Error('not called')
  aedesClient.whenDrained(drained.client, (result) => { error = result })
  drained.stream.emit('drain')
  await until(() => error === null, 'the callback')
  const frozen = await connect(t, { drainTimeout: 20 })
  frozen.state.takesWrites = false
  aedesClient.whenDrained(frozen.client, () => {})
  await until(() => frozen.client.closed, 'the time-out')
  t.ok(frozen.errors.some(aedesClient.isDrainTimeout))
})

t.test('a CONNECT that does not come closes the client', async (t) => {
  const { client, errors } = await connect(t, { connectTimeout: 20 }, [])
  await until(() => client.closed, 'the time-out')
  t.ok(errors.some(aedesClient.isConnectTimeout))
})

t.test('topics of any depth reach authorizePublish', async (t) => {
  const topics: string[] = []
  const { send } = await connect(t, { authorizePublish: (_client, { topic }) => { topics.push(topic) } })
  const topic = 'a/'.repeat(500) + 'a'
  send(publishPacket(1, { topic }))
  await until(() => topics.length === 1, 'the publish')
  t.strictSame(topics, [topic])
})

t.test('a released client has neither socket nor parser, and late steps of Aedes do not throw', async (t) => {
  const { client, stream } = await connect(t)
  t.equal(aedesClient.releaseClient(client), false, 'it is open')
  client.close()
  const { _parser } = client as Client & { _parser: object }
  t.type(_parser, 'object')
  t.equal(aedesClient.releaseClient(client), true)
  t.not((client as Client & { _parser: object })._parser, _parser)
  t.not(client.conn, stream)
  t.doesNotThrow(() => { client.close() })
})

t.test('errors of the broker reach the listener', async (t) => {
  const { aedes } = await connect(t)
  const errors: Error[] = []
  aedesClient.onBrokerError(aedes, (error) => { errors.push(error) })
  aedes.emit('error', new Error('of the persistence'))
  t.match(errors, exactly({ message: 'of the persistence' }))
})
