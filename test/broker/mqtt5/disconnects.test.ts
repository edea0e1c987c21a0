/** The reason codes in DISCONNECT and CONNACK of MQTT 5, and that DISCONNECT arrives. */
import type { IConnectPacket } from 'mqtt-packet'
import t, { type Test } from 'tap'
import { durable, publishPacket, RawClient, settleDown, startBroker } from '../../helpers/broker.ts'
import { authenticateByName, login, NOT_SLOWED } from '../../helpers/principals.ts'
import { until } from '../../helpers/until.ts'

const connected = (t: Test, port: number, options: Partial<IConnectPacket> = {}) =>
  RawClient.connected(t, port, { protocolVersion: 5, ...options })

/** The reason code of the DISCONNECT that ends a connection; `null` without one. */
async function endOf (client: RawClient): Promise<number | null | undefined> {
  await client.closed()
  const [disconnect] = client.of('disconnect')
  return disconnect === undefined ? null : disconnect.reasonCode
}

const text = (value: string) => [0, value.length, ...Buffer.from(value)]

const PACKETS: ReadonlyArray<readonly [what: string, code: number, bytes: number[]]> = [
  ['a topic that is not UTF-8', 0x81, [0x30, 6, 0, 2, 0xc3, 0x28, 0, 0x7b]],
  ['a topic with a wildcard', 0x81, [0x30, 6, 0, 3, ...Buffer.from('a/#'), 0]],
  ['QoS 3', 0x81, [0x36, 6, 0, 1, 0x61, 0, 1, 0]],
  ['a remaining length that is not minimal', 0x81, [0xc0, 0x80, 0x00]],
  ['packet id 0', 0x82, [0x32, 6, 0, 1, 0x61, 0, 0, 0]],
  ['a property twice', 0x82, [0x30, 8, 0, 1, 0x61, 4, 1, 0, 1, 0]],
  ['no topic and no alias', 0x82, [0x30, 3, 0, 0, 0]],
  ['a subscription identifier', 0x82, [0x30, 6, 0, 1, 0x61, 2, 0x0b, 1]],
  ['a second CONNECT', 0x82, [0x10, 14, ...text('MQTT'), 5, 2, 0, 0, 0, ...text('x')]],
  ['AUTH', 0x82, [0xf0, 0]],
  ['a topic alias that was not offered', 0x94, [0x30, 7, 0, 1, 0x61, 3, 0x23, 0, 1]]
]

for (const [what, code, bytes] of PACKETS) {
  t.test(`${what}: DISCONNECT 0x${code.toString(16)}, behind the acknowledgements of earlier publishes`, async (t) => {
    const { port, broker, ingest } = await startBroker(t)
    const client = await connected(t, port)
    client.send(publishPacket(1))
    client.socket.write(Buffer.from(bytes))
    // The gateway must read on after its DISCONNECT, or the kernel resets the connection.
    client.send(...Array.from({ length: 100 }, (_, n) => publishPacket(n + 2, { payload: 'x'.repeat(1000) })))
    await until(() => ingest.held.length === 1, 'the first publish')
    ingest.settleAll()
    t.equal(await endOf(client), code)
    t.strictSame(client.ids('puback'), [1])
    const { malformedPackets, limitHits } = broker.statistics()
    t.equal(malformedPackets + limitHits.get('topic_alias')!, 1)
  })
}

t.test('a packet over the limit: DISCONNECT 0x95', async (t) => {
  const { port } = await startBroker(t, { answer: durable, limits: { packetBytesMax: 1000 } })
  const client = await connected(t, port)
  t.equal(client.of('connack')[0]!.properties?.maximumPacketSize, 1000)
  client.send(publishPacket(1), publishPacket(2, { payload: 'x'.repeat(1000) }))
  t.equal(await endOf(client), 0x95)
  t.strictSame(client.ids('puback'), [1])
})

t.test('silence: DISCONNECT 0x8D', async (t) => {
  const { port, broker } = await startBroker(t)
  const client = await connected(t, port, { keepalive: 1 })
  t.equal(await endOf(client), 0x8d)
  t.equal(broker.statistics().limitHits.get('keepalive'), 1)
})

t.test('a takeover: DISCONNECT 0x8E, by either version', async (t) => {
  const { port } = await startBroker(t)
  const first = await connected(t, port, { clientId: 'a' })
  const second = await connected(t, port, { clientId: 'a' })
  t.equal(await endOf(first), 0x8e)
  const third = await RawClient.connected(t, port, { clientId: 'a' })
  t.equal(await endOf(second), 0x8e)
  const fourth = await connected(t, port, { clientId: 'a' })
  await third.closed()
  t.notOk(fourth.isClosed)
})

t.test('a stop: DISCONNECT 0x8B', async (t) => {
  const { port, broker } = await startBroker(t)
  const client = await connected(t, port)
  await broker.stop()
  t.equal(await endOf(client), 0x8b)
})

t.test('a principal that was revoked: DISCONNECT 0x87, without its will', async (t) => {
  const { port, broker } = await startBroker(t, { answer: durable, authenticate: authenticateByName, limits: NOT_SLOWED })
  const watcher = await RawClient.connected(t, port, login('operator:nurse'))
  await watcher.subscribe({ '#': 1 })
  const will = { topic: 'vital/a', payload: Buffer.from('will'), qos: 1, retain: false } as const
  const client = await connected(t, port, { ...login('a'), will })
  broker.disconnect((principal) => principal?.id === 'a')
  t.equal(await endOf(client), 0x87)
  await settleDown()
  t.strictSame(watcher.messages(), [])
})

t.test('QoS 2 beyond the Receive Maximum: DISCONNECT 0x93; QoS 1 waits', async (t) => {
  const { port, ingest } = await startBroker(t, { limits: { heldMessagesPerClientMax: 10 } })
  const patient = await connected(t, port)
  t.equal(patient.of('connack')[0]!.properties?.receiveMaximum, 10)
  patient.send(...Array.from({ length: 100 }, (_, n) => publishPacket(n + 1)))
  await settleDown()
  t.equal(ingest.seen.length, 11, 'one beyond the limit is read before the gate stops')
  const timer = setInterval(() => { ingest.settleAll() }, 5)
  t.teardown(() => clearInterval(timer))
  await patient.waitFor('puback', 100)
  t.strictSame(patient.ids('puback'), Array.from({ length: 100 }, (_, n) => n + 1))
  const greedy = await connected(t, port)
  greedy.send(...Array.from({ length: 11 }, (_, n) => publishPacket(n + 1, { qos: 2 })))
  t.equal(await endOf(greedy), 0x93)
  t.equal(greedy.of('pubrec').length, 10)
})

t.test('CONNACK says why a client is refused', async (t) => {
  const { port } = await startBroker(t, { authenticate: authenticateByName, limits: NOT_SLOWED })
  const answer = async (options: Partial<IConnectPacket>) => {
    const client = await RawClient.open(t, port, 5)
    const { reasonCode } = await client.connect(options)
    await client.closed()
    return reasonCode
  }
  t.equal(await answer({ ...login('a'), password: Buffer.from('wrong') }), 0x87)
  t.equal(await answer(login('a', 'b')), 0x87)
  t.equal(await answer(login('a', 'x'.repeat(1025))), 0x85)
  t.equal(await answer({ ...login('a'), properties: { authenticationMethod: 'SCRAM' } }), 0x8c)
  t.equal(await answer({ ...login('a'), will: { topic: '$SYS/a', payload: Buffer.from(''), qos: 0, retain: false } }), 0x87)
  t.equal(await answer({ ...login('a'), will: { topic: 'a', payload: Buffer.alloc(17_000), qos: 0, retain: false } }), 0x95)
})

t.test('a client that is refused takes nothing from the session of its client id', async (t) => {
  const { port } = await startBroker(t, { answer: durable, authenticate: authenticateByName, limits: NOT_SLOWED })
  const device = await connected(t, port, login('device-1'))
  device.send(publishPacket(1, { topic: 'vital/device-1', qos: 2 }))
  await device.waitFor('pubrec')
  const stranger = await RawClient.open(t, port, 5)
  t.equal((await stranger.connect(login('operator:stranger', 'device-1'))).reasonCode, 0x87)
  await stranger.closed()
  device.send({ cmd: 'pubrel', messageId: 1, reasonCode: 0 })
  await device.waitFor('pubcomp')
  t.equal(device.of('pubcomp')[0]!.reasonCode, 0x00)
})

t.test('credentials that cannot be verified now: closed without a CONNACK', async (t) => {
  const { port } = await startBroker(t, {
    authenticate: () => ({ status: 'unavailable', isOverloaded: true })
  })
  const client = await RawClient.open(t, port, 5)
  t.equal((await client.connect(login('a'))).returnCode, -1)
  await client.closed()
})

t.test('a client without an id gets one; a device gets its own', async (t) => {
  const { port, broker } = await startBroker(t, { answer: durable, authenticate: authenticateByName })
  const device = await connected(t, port, login('device-1', ''))
  t.equal(device.of('connack')[0]!.properties?.assignedClientIdentifier, 'device-1')
  const [one, other] = [await connected(t, port, login('operator:nurse', '')), await connected(t, port, login('operator:nurse', ''))]
  t.not(one.of('connack')[0]!.properties?.assignedClientIdentifier, other.of('connack')[0]!.properties?.assignedClientIdentifier)
  t.equal(broker.statistics().clientsConnected, 3)
})

t.test('a CONNECT byte by byte, and one that stops', async (t) => {
  const { port, broker } = await startBroker(t, { limits: { connectTimeoutMs: 500 } })
  const slow = await RawClient.open(t, port, 5)
  await slow.sendInPieces({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 5, clean: true, clientId: 'slow', keepalive: 0 })
  await slow.waitFor('connack')
  const stuck = await RawClient.open(t, port, 5)
  stuck.socket.write(Buffer.from([0x10, 20, ...text('MQTT'), 5, 2]))
  await stuck.closed()
  t.equal(broker.statistics().limitHits.get('connect_time'), 1)
  t.notOk(slow.isClosed)
})
