import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { pino } from 'pino'
import { createBroker } from '../../../broker/broker.ts'
import { DEFAULT_LIMITS } from '../../../broker/limits.ts'
import { durable, publishPacket, RawClient, settleDown, startBroker } from '../../helpers/broker.ts'
import { exactly } from '../../helpers/exactly.ts'
import { until } from '../../helpers/until.ts'

const IDENTIFIER_REJECTED = 2
const NO_CONNACK = -1
const NOT_AUTHORIZED = 5

t.test('client ids', async (t) => {
  const { port } = await startBroker(t)
  const answer = async (options: Parameters<RawClient['connect']>[0]) => (await (await RawClient.open(t, port)).connect(options)).returnCode
  t.equal(await answer({ clientId: '', clean: true }), 0)
  t.equal(await answer({ clientId: '__proto__', clean: false }), 0)
  t.equal(await answer({ clientId: 'x'.repeat(1025) }), IDENTIFIER_REJECTED)
  const empty = await RawClient.open(t, port)
  // mqtt-packet refuses to write it: CONNECT, MQTT 3.1.1, CleanSession 0, no id.
  empty.socket.write(Buffer.from([0x10, 12, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 0, 0, 0, 0, 0]))
  await empty.waitFor('connack')
  t.equal(empty.of('connack')[0]!.returnCode, IDENTIFIER_REJECTED)
  await empty.closed()
})

t.test('an unknown protocol level is refused: below 5 as MQTT 3.1.1 does, above as MQTT 5 does', async (t) => {
  const { port } = await startBroker(t)
  for (const [level, protocolVersion] of [[2, 4], [6, 5], [99, 5]] as const) {
    const client = await RawClient.open(t, port, protocolVersion)
    // CONNECT, CleanSession 1, client id a.
    client.socket.write(Buffer.from([0x10, 13, 0, 4, 0x4d, 0x51, 0x54, 0x54, level, 2, 0, 0, 0, 1, 0x61]))
    await client.waitFor('connack')
    const { returnCode, reasonCode } = client.of('connack')[0]!
    t.equal(returnCode ?? reasonCode, level > 5 ? 0x84 : 1)
    await client.closed()
  }
})

t.test('wills on reserved, long or deep topics are refused at CONNECT', async (t) => {
  const { port } = await startBroker(t)
  const answer = async (topic: string) => {
    const client = await RawClient.open(t, port)
    return (await client.connect({ will: { topic, payload: Buffer.from('x'), qos: 0, retain: false } })).returnCode
  }
  for (const topic of ['$SYS/broker/uptime', '$SYS/broker/connection/a', 'a/'.repeat(100)]) {
    t.equal(await answer(topic), NOT_AUTHORIZED,
      topic.slice(0, 20))
  }
  for (const topic of ['vital/a', 'a', '$other']) t.equal(await answer(topic), 0, topic)
})

t.test('credentials are verified by one function, which may refuse, be unavailable, throw, or be slow', async (t) => {
  const { port, log } = await startBroker(t, {
    limits: { heldLoginTimeoutMs: 500 },
    authenticate: async ({ username, password, clientId, origin }) => {
      await sleep(20)
      if (username === 'broken') throw new Error('no connection')
      if (username === 'away') return { status: 'unavailable' }
      const isRight = username === 'nurse' && password?.toString() === 'swordfish' && clientId === 'ward-3' &&
        origin.remoteAddress === '127.0.0.1'
      return isRight ? { status: 'accepted', principal: { id: 'nurse', role: 'operator' } } : { status: 'refused', reason: 'wrong_secret' }
    }
  })
  const answer = async (username: string, password: string) => {
    const client = await RawClient.open(t, port)
    return (await client.connect({ clientId: 'ward-3', username, password: Buffer.from(password) })).returnCode
  }
  t.equal(await answer('nurse', 'swordfish'), 0)
  t.equal(await answer('nurse', 'wrong'), NOT_AUTHORIZED)
  t.equal(await answer('broken', 'swordfish'), NO_CONNACK)
  t.equal(await answer('away', 'swordfish'), NO_CONNACK)
  t.notMatch(JSON.stringify(log), 'swordfish')
})

t.test('a client id that connects again takes over', async (t) => {
  const { port, broker, ingest } = await startBroker(t)
  const first = await RawClient.connected(t, port, { clientId: 'band' })
  first.send(publishPacket(1))
  await until(() => ingest.held.length === 1, 'the publish')
  const second = await RawClient.connected(t, port, { clientId: 'band' })
  await first.closed()
  second.send(publishPacket(1, { dup: true }))
  await until(() => ingest.held.length === 2, 'the publish again')
  ingest.settleAll()
  await second.waitFor('puback')
  t.strictSame([first.ids('puback'), second.ids('puback')], [[], [1]])
  t.equal(broker.statistics().clientsConnected, 1)
})

t.test('one connection is left of each client id, in whatever order they close', async (t) => {
  const { port, broker } = await startBroker(t, { limits: { takeoversOfClientId: { ...DEFAULT_LIMITS.takeoversOfClientId, freeMax: 30 } } })
  const clients: RawClient[] = []
  for (let round = 0; round < 30; round++) {
    const client = await RawClient.open(t, port)
    clients.push(client)
    client.send({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: true, clientId: 'band', keepalive: 0 },
      { cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 0 }, { topic: 'b', qos: 0 }] })
    if (round % 3 === 0) await client.waitFor('suback')
    if (round % 2 === 0) client.socket.destroy()
  }
  await clients.at(-1)!.waitFor('suback')
  await until(() => broker.statistics().connections === 1, 'all but one to be closed')
  t.match(broker.statistics(), { clientsConnected: 1, subscriptions: 2 })
  t.notOk(clients.at(-1)!.isClosed)
})

t.test('a PUBLISH that ends before its packet id is refused', async (t) => {
  const { port, ingest } = await startBroker(t)
  const client = await RawClient.connected(t, port)
  client.socket.write(Buffer.from([0x32, 9, 0, 7, ...Buffer.from('vital/a')]))
  await client.closed()
  t.strictSame(ingest.seen, [])
})

t.test('connections beyond the limit are closed and logged', async (t) => {
  const { port, broker, log } = await startBroker(t, { limits: { connectionsMax: 2 }, answer: durable })
  const clients = [await RawClient.connected(t, port), await RawClient.connected(t, port)]
  const third = await RawClient.open(t, port)
  await third.closed()
  t.equal(broker.statistics().limitHits.get('connections'), 1)
  t.match(log.filter(({ connectionsMax }) => connectionsMax === 2), exactly({ level: 40, msg: 'connection refused: too many connections' }))
  clients[0]!.socket.destroy()
  await until(() => broker.statistics().connections === 1, 'room')
  await RawClient.connected(t, port)
})

t.test('stopListening keeps the clients', async (t) => {
  const { port, broker } = await startBroker(t, { answer: durable })
  const client = await RawClient.connected(t, port)
  await broker.stopListening()
  await t.rejects(RawClient.open(t, port), { code: 'ECONNREFUSED' })
  client.send(publishPacket(1))
  await client.waitFor('puback')
})

t.test('a port that is taken', async (t) => {
  const { port } = await startBroker(t)
  const broker = createBroker({ host: '127.0.0.1', port, version: '1', ingest: () => {}, logger: pino({ level: 'silent' }) })
  await t.rejects(broker.start(), { code: 'EADDRINUSE' })
})

t.test('the log names the listener and a closed connection, and holds no payload', async (t) => {
  const { port, log } = await startBroker(t)
  t.match(log[0], { level: 30, msg: 'listening', protocol: 'mqtt', address: '127.0.0.1', port })
  const client = await RawClient.connected(t, port, { clientId: 'odd' })
  client.send(publishPacket(1, { topic: '$SYS/x', payload: 'very private' }))
  await client.closed()
  await settleDown()
  t.match(log.find(({ msg }) => /^connection closed/.test(String(msg))), { level: 40, clientId: 'odd', msg: /a topic that is not its own/ })
  t.notMatch(JSON.stringify(log), 'very private')
})
