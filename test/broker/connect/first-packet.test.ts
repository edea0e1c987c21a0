import { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import mqttPacket from 'mqtt-packet'
import t, { type Test } from 'tap'
import type { Login } from '../../../broker/connect/login.ts'
import type { Origin } from '../../../broker/listen/origin.ts'
import { FirstPacketCheck } from '../../../broker/connect/first-packet.ts'
import { connectPacket, durable, publishPacket, RawClient, startBroker } from '../../helpers/broker.ts'
import { authenticateByName, login, NOT_SLOWED } from '../../helpers/principals.ts'
import { until } from '../../helpers/until.ts'

const ORIGIN: Origin = { transport: 'tcp', remoteAddress: '192.0.2.1', certificateNames: [] }
const NOT_AUTHORIZED = 5

const CONNECT = mqttPacket.generate(connectPacket({ clientId: 'a', username: 'a', password: Buffer.from('b') }))
const PUBLISH = mqttPacket.generate(publishPacket(1))

function start (t: Test, connectPacketBytesMax = 1024) {
  const served: Array<{ bytes: string, login: Login | null }> = []
  const asked: Array<{ login: Login, answer: (returnCode: typeof NOT_AUTHORIZED | null) => void }> = []
  const refused: number[] = []
  const firstPackets = new FirstPacketCheck({
    connectPacketBytesMax,
    verify: (login) => new Promise((resolve) => { asked.push({ login, answer: resolve }) }),
    serve: (stream, _origin, login) => { served.push({ bytes: (stream.read() as Buffer).toString('hex'), login }) },
    onRefused: (bytes) => { refused.push(bytes) }
  })
  t.teardown(() => { firstPackets.stop() })
  /** A connection whose first bytes have come. */
  const arrive = (bytes: Buffer) => {
    const written: Buffer[] = []
    const stream = new Duplex({ read () {}, write (chunk: Buffer, _encoding, done) { written.push(chunk); done() } })
    stream.push(bytes)
    firstPackets.receive(stream, ORIGIN)
    return { stream, written }
  }
  return { firstPackets, served, asked, refused, arrive }
}

t.test('an accepted CONNECT is served with every byte, including those that came during the login', async (t) => {
  const { served, asked, arrive } = start(t)
  const { stream } = arrive(Buffer.concat([CONNECT, PUBLISH]))
  stream.push(PUBLISH)
  await sleep(10)
  t.strictSame(served, [])
  const [question] = asked
  const { clientId, username, password, origin, isOver } = question!.login
  t.strictSame({
    clientId, username, password: password?.toString(), origin, isOver
  }, { clientId: 'a', username: 'a', password: 'b', origin: ORIGIN, isOver: false })
  question!.answer(null)
  await until(() => served.length === 1, 'service')
  t.equal(served[0]!.bytes, Buffer.concat([CONNECT, PUBLISH, PUBLISH]).toString('hex'))
  t.equal(served[0]!.login, question!.login)
  t.strictSame(stream.eventNames(), [], 'no listener is left')
})

t.test('a refused CONNECT gets its CONNACK, and is not served', async (t) => {
  const { served, asked, refused, arrive } = start(t)
  const { stream, written } = arrive(CONNECT)
  await until(() => asked.length === 1, 'the question')
  asked[0]!.answer(NOT_AUTHORIZED)
  await until(() => stream.destroyed, 'the end')
  t.strictSame(Buffer.concat(written), Buffer.from([0x20, 2, 0, NOT_AUTHORIZED]))
  t.strictSame([served, refused], [[], [CONNECT.length]])
  t.ok(asked[0]!.login.isOver === false, 'the login is not over: it was answered')
})

t.test('a login ends with its connection, unless packets came behind its CONNECT', async (t) => {
  const { firstPackets, served, asked, arrive } = start(t)
  const ended = arrive(CONNECT)
  const broken = arrive(CONNECT)
  const publisher = arrive(Buffer.concat([CONNECT, PUBLISH]))
  const stopped = arrive(Buffer.concat([CONNECT, PUBLISH]))
  for (const { stream } of [ended, publisher]) stream.push(null)
  broken.stream.destroy(new Error('ECONNRESET'))
  await until(() => ended.stream.destroyed && asked.filter(({ login }) => login.isOver).length === 2, 'both to be over')
  t.notOk(publisher.stream.destroyed)
  for (const { answer } of asked.slice(0, 3)) answer(null)
  await until(() => served.length === 1, 'the publisher')
  t.equal(served[0]!.bytes, Buffer.concat([CONNECT, PUBLISH]).toString('hex'))
  firstPackets.stop()
  t.strictSame([stopped.stream.destroyed, publisher.stream.destroyed], [true, false])
})

t.test('any other first packet goes to Aedes as it came', async (t) => {
  const { served, asked, arrive } = start(t, 100)
  const others = {
    'a part of a CONNECT': CONNECT.subarray(0, -1),
    'a single byte': CONNECT.subarray(0, 1),
    'a length without end': Buffer.from([0x10, 0xff, 0xff, 0xff, 0xff, 0xff]),
    'another packet': PUBLISH,
    'flags of CONNECT that must be 0': Buffer.concat([Buffer.from([0x11]), CONNECT.subarray(1)]),
    'a CONNECT that is too large': mqttPacket.generate(connectPacket({ clientId: 'x'.repeat(200) })),
    'a CONNECT that ends too early': Buffer.from([0x10, 2, 0, 4]),
    'MQTT 5': mqttPacket.generate(connectPacket({ clientId: 'a', protocolVersion: 5 })),
    'no client id': mqttPacket.generate(connectPacket({ clientId: '' }))
  }
  for (const [what, bytes] of Object.entries(others)) {
    arrive(bytes)
    t.strictSame(served.at(-1), { bytes: bytes.toString('hex'), login: null }, what)
  }
  t.strictSame(asked, [])
})

t.test('a CONNECT in pieces, or with a slow password check, works over TCP', async (t) => {
  let answer = () => {}
  const { port, broker, ingest } = await startBroker(t, {
    answer: durable,
    limits: NOT_SLOWED,
    authenticate: async (credentials) => {
      if (credentials.clientId === 'slow') await new Promise<void>((resolve) => { answer = resolve })
      return authenticateByName(credentials)
    }
  })
  const pieces = await RawClient.open(t, port)
  for (const byte of mqttPacket.generate(connectPacket(login('pieces')))) pieces.socket.write(Buffer.from([byte]))
  pieces.send(publishPacket(1, { topic: 'vital/pieces' }))
  await pieces.waitFor('puback')
  const slow = await RawClient.open(t, port)
  slow.send(connectPacket(login('slow')), publishPacket(1, { topic: 'vital/slow' }))
  await until(() => broker.statistics().connections === 2, 'both')
  await sleep(50)
  slow.send(publishPacket(2, { topic: 'vital/slow' }))
  t.strictSame(slow.packets, [])
  answer()
  await slow.waitFor('puback', 2)
  t.strictSame(slow.packets.map(({ cmd }) => cmd), ['connack', 'puback', 'puback'])
  const left = await RawClient.open(t, port)
  left.socket.end(Buffer.concat([
    connectPacket(login('left')), publishPacket(1, { topic: 'vital/left' })
  ].map((packet) => mqttPacket.generate(packet))))
  await until(() => ingest.seen.some(({ device }) => device === 'left'), 'the publish that came with the end of CONNECT')
  const before = broker.statistics().packetsReceived
  const wrong = await RawClient.open(t, port)
  t.equal((await wrong.connect({ ...login('wrong'), password: Buffer.from('a guess') })).returnCode, NOT_AUTHORIZED)
  await wrong.closed()
  t.equal(broker.statistics().packetsReceived, before + 1, 'a refused CONNECT is counted too')
})

t.test('a principal that is revoked while its login waits is not let in', async (t) => {
  let answer = () => {}
  const { port, broker } = await startBroker(t, {
    authenticate: async (credentials) => {
      await new Promise<void>((resolve) => { answer = resolve })
      return authenticateByName(credentials)
    }
  })
  const client = await RawClient.open(t, port)
  client.send(connectPacket(login('band')))
  await until(() => broker.statistics().connections === 1, 'the connection')
  await sleep(50)
  broker.disconnect((principal) => principal?.id === 'band')
  answer()
  await client.closed()
  t.strictSame(client.of('connack'), [])
})
