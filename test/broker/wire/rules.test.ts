/** Every rule for packets of a client, tested over every transport, in one write and byte by byte. */
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import mqttPacket from 'mqtt-packet'
import t from 'tap'
import { checkPacket, MALFORMED, type Malformed } from '../../../broker/wire/rules.ts'
import { createAuthority } from '../../helpers/certificates.ts'
import { exactly } from '../../helpers/exactly.ts'
import { field, ILL_FORMED, packet } from '../../helpers/mqtt-bytes.ts'
import { collectPackets, openStream, startTransports, type TestTransports, type Transport } from '../../helpers/transports.ts'
import { durable, publishPacket, RawClient } from '../../helpers/broker.ts'
import { until } from '../../helpers/until.ts'

const connect = (flags: number, ...payload: Array<Buffer | readonly number[]>) => packet(0x10, field('MQTT'), [4, flags, 0, 60], ...payload)
const publish = (firstByte: number, topic: string | Buffer, ...rest: Array<Buffer | readonly number[]>) =>
  packet(firstByte, field(topic), ...((firstByte & 6) === 0 ? [] : [[0, 9]]), ...rest)
const subscribe = (...rest: Array<Buffer | readonly number[]>) => packet(0x82, [0, 9], ...rest)
const unsubscribe = (...rest: Array<Buffer | readonly number[]>) => packet(0xa2, [0, 9], ...rest)

interface Case { readonly what: string, readonly breaks: Malformed, readonly bytes: Buffer }

const of = (breaks: Malformed, cases: Record<string, Buffer>): Case[] => Object.entries(cases).map(([what, bytes]) => ({
  what, breaks, bytes
}))

const WILL = [field('vital/ward-3'), field('{}')]

const FIRST: readonly Case[] = [
  ...of('connect_missing', {
    'a PUBLISH first': publish(0x32, 'vital/a'),
    'a PINGREQ first': packet(0xc0),
    'CONNACK first': packet(0x20,
      [0, 0])
  }),
  ...of('header_flags', { 'CONNECT with header flags': Buffer.concat([Buffer.from([0x11]), connect(2, field('a')).subarray(1)]) }),
  ...of('protocol_name', {
    'another protocol': packet(0x10, field('MQTX'), [4, 2, 0, 60], field('a')),
    'no name': packet(0x10, field(''), [4, 2, 0, 60], field('a'))
  }),
  ...of('connect_flags', { 'the reserved flag': connect(0x03, field('a')) }),
  ...of('will_flags', {
    'will QoS 1 without a will': connect(0x0a, field('a')),
    'will QoS 3 without a will': connect(0x1a, field('a')),
    'retain without a will': connect(0x22, field('a'))
  }),
  ...of('will_qos', { 'will QoS 3': connect(0x1e, field('a'), ...WILL), 'will QoS 3, retained': connect(0x3e, field('a'), ...WILL) }),
  ...of('password_flag', { 'a password without a user name': connect(0x42, field('a'), field('secret')) }),
  ...of('truncated', {
    'CONNECT without a client id': connect(2),
    'CONNECT without a keepalive': packet(0x10, field('MQTT'), [4, 2]),
    'a will without its message': connect(0x06, field('a'), field('vital/a')),
    'a missing user name': connect(0x82, field('a')),
    'a client id that is longer than its packet': connect(2, [0, 9], Buffer.from('a'))
  }),
  ...of('trailing_bytes', {
    'bytes behind the client id': connect(2, field('a'), [1]),
    'a password without its flag': connect(0x82, field('a'), field('u'), field('p'))
  }),
  ...of('topic_empty', { 'a will without a topic': connect(0x06, field('a'), field(''), field('x')) }),
  ...of('topic_wildcard', {
    'a will on a/#': connect(0x06, field('a'), field('a/#'), field('x')),
    'a will on +/a': connect(0x06, field('a'), field('+/a'), field('x'))
  }),
  ...Object.entries(ILL_FORMED).flatMap(([what, text]) => of('text', {
    [`a client id with ${what}`]: connect(2, field(text)),
    [`a will topic with ${what}`]: connect(0x06, field('a'), field(text), field('x')),
    [`a user name with ${what}`]: connect(0x82, field('a'), field(text))
  }))
]

const LEVELS: readonly Case[] = of('protocol_level', {
  'level 1': packet(0x10, field('MQTT'), [1, 2, 0, 60], field('a')),
  'level 0': packet(0x10, field('MQTT'), [0, 2, 0, 60], field('a')),
  'level 3 of MQTT': packet(0x10, field('MQTT'), [3, 2, 0, 60], field('a')),
  'level 4 of MQIsdp': packet(0x10, field('MQIsdp'), [4, 2, 0, 60], field('a'))
})

const LATER: readonly Case[] = [
  ...of('connect_again', { 'a second CONNECT': connect(2, field('b')) }),
  ...of('packet_type', {
    'type 0': packet(0x00),
    'type 15': packet(0xf0),
    CONNACK: packet(0x20, [0, 0]),
    SUBACK: packet(0x90,
      [0, 9, 0]),
    UNSUBACK: packet(0xb0, [0, 9]),
    PINGRESP: packet(0xd0)
  }),
  ...of('header_flags', {
    'SUBSCRIBE without its flags': packet(0x80, [0, 9], field('a'), [0]),
    'UNSUBSCRIBE without its flags': packet(0xa0, [0, 9], field('a')),
    'PUBREL without its flags': packet(0x60, [0, 9]),
    'PUBACK with flags': packet(0x42, [0, 9]),
    'PUBREC with flags': packet(0x51, [0, 9]),
    'PUBCOMP with flags': packet(0x74, [0, 9]),
    'PINGREQ with flags': packet(0xc1),
    'DISCONNECT with flags': packet(0xe8)
  }),
  ...of('body_length', {
    'PINGREQ with a body': packet(0xc0, [1]),
    'DISCONNECT with a body': packet(0xe0, [0]),
    'PUBACK of one byte': packet(0x40, [9]),
    'PUBACK without a body': packet(0x40),
    'PUBACK of three bytes': packet(0x40, [0, 9, 0]),
    'PUBREC of one byte': packet(0x50, [9]),
    'PUBREL of three bytes': packet(0x62, [0, 9, 0]),
    'PUBCOMP of four bytes': packet(0x70, [0, 9, 0, 0])
  }),
  ...of('packet_id', {
    'PUBLISH, QoS 1': packet(0x32, field('vital/a'), [0, 0]),
    'PUBLISH, QoS 2': packet(0x34, field('chat/a'), [0, 0]),
    SUBSCRIBE: packet(0x82, [0, 0], field('a'), [0]),
    UNSUBSCRIBE: packet(0xa2, [0, 0], field('a')),
    PUBACK: packet(0x40, [0, 0]),
    PUBREC: packet(0x50, [0, 0]),
    PUBREL: packet(0x62, [0, 0]),
    PUBCOMP: packet(0x70, [0, 0])
  }),
  ...of('publish_qos', {
    'QoS 3': packet(0x36, field('vital/a'), [0, 9]),
    'QoS 3, retained, on chat': packet(0x37, field('chat/a'),
      [0, 9])
  }),
  ...of('publish_dup', { 'DUP at QoS 0': publish(0x38, 'vital/a'), 'DUP at QoS 0, retained': publish(0x39, 'chat/a') }),
  ...of('topic_empty', {
    PUBLISH: publish(0x32, ''),
    SUBSCRIBE: subscribe(field(''), [0]),
    'a second filter': subscribe(field('a'), [0], field(''),
      [0]),
    UNSUBSCRIBE: unsubscribe(field(''))
  }),
  ...of('topic_wildcard', {
    'a/#': publish(0x32, 'a/#'),
    'vital/+': publish(0x32, 'vital/+'),
    'a+, QoS 0': publish(0x30,
      'a+'),
    'vital/#, retained': publish(0x31, 'vital/#')
  }),
  ...of('filter_missing', { SUBSCRIBE: subscribe(), UNSUBSCRIBE: unsubscribe() }),
  ...of('filter_wildcard', Object.fromEntries([
    'a#', '#/a', 'a/#/b', '+a', 'a+', 'a/b+/c', 'a/+b', '##', '++', 'x#', 'größe#'
  ].flatMap((filter) => [
    [`SUBSCRIBE ${filter}`, subscribe(field('ok'), [0], field(filter), [1])], [`UNSUBSCRIBE ${filter}`, unsubscribe(field(filter))]
  ]))),
  ...of('requested_qos', {
    'QoS 3': subscribe(field('a'), [3]),
    'the reserved bits': subscribe(field('a'), [4]),
    0x80: subscribe(field('b'), [0], field('a'), [0x80])
  }),
  ...of('truncated', {
    'PUBLISH without a topic': packet(0x32, [0]),
    'PUBLISH whose topic is longer than it': packet(0x32, [0, 200], Buffer.from('vital/a')),
    'PUBLISH without a packet id': packet(0x32, field('vital/a')),
    'PUBLISH with half a packet id': packet(0x34, field('chat/a'), [0]),
    'SUBSCRIBE without a QoS': subscribe(field('a')),
    'SUBSCRIBE with half a filter': subscribe([0, 5], Buffer.from('a')),
    'SUBSCRIBE of one byte': packet(0x82, [0]),
    'UNSUBSCRIBE with a byte behind': unsubscribe(field('a'), [0])
  }),
  ...Object.entries(ILL_FORMED).flatMap(([what, text]) => of('text', {
    [`PUBLISH, QoS 1, ${what}`]: publish(0x32, Buffer.concat([Buffer.from('vital/'), text])),
    [`PUBLISH, QoS 0, ${what}`]: publish(0x30, Buffer.concat([Buffer.from('vital/'), text])),
    [`PUBLISH, retained, on chat, ${what}`]: publish(0x31, text),
    [`SUBSCRIBE, ${what}`]: subscribe(field(text), [0]),
    [`UNSUBSCRIBE, ${what}`]: unsubscribe(field(text))
  }))
]

const CASES = [...FIRST, ...LEVELS, ...LATER]
const authority = createAuthority(t)

async function start (t: Parameters<typeof startTransports>[0]): Promise<TestTransports> {
  return await startTransports(t, await authority, {
    answer: durable, limits: { messagesPerSecondMax: 0, bytesPerSecondMax: 0, connectsPerSecondMax: 0 }
  })
}

const before = mqttPacket.generate(publishPacket(7, { topic: 'vital/before' }))
const behind = mqttPacket.generate(publishPacket(8, { topic: 'vital/behind' }))

/** Byte by byte where `isCut`, each in a write of its own. */
async function write (stream: Duplex, parts: readonly Buffer[], isCut: boolean): Promise<void> {
  const bytes = Buffer.concat(parts)
  const pieceBytes = isCut ? 1 : bytes.length
  for (let at = 0; at < bytes.length && !stream.destroyed; at += pieceBytes) {
    stream.write(bytes.subarray(at, at + pieceBytes))
    await new Promise((resolve) => { setImmediate(resolve) })
  }
}

async function play (
  t: Parameters<typeof openStream>[0], test: TestTransports, transport: Transport, parts: readonly Buffer[], isCut: boolean
) {
  const stream = await openStream(t, test, transport)
  const packets = collectPackets(stream)
  const closed = new Promise<boolean>((resolve) => { for (const event of ['end', 'close']) stream.once(event, () => { resolve(true) }) })
  await write(stream, parts, isCut)
  const isClosed = await Promise.race([closed, sleep(5000, false)])
  stream.destroy()
  return { packets, isClosed }
}

const WAYS = [['tcp', false], ['tcp', true], ['tls', false], ['ws', false], ['wss', true]] as const

for (const [transport, isCut] of WAYS) {
  t.test(`a packet that breaks a rule closes the connection over ${transport}, ` +
    `${isCut ? 'byte by byte' : 'in one write'}`, { timeout: 120_000 }, async (t) => {
    const test = await start(t)
    const watcher = await RawClient.connected(t, test.port, { clientId: 'watcher' })
    await watcher.subscribe({ '#': 2, 'vital/#': 1 })
    test.origins.length = 0
    for (const { what, breaks, bytes } of [...FIRST, ...LEVELS]) {
      const { malformedPackets } = test.broker.statistics()
      const { packets, isClosed } = await play(t, test, transport, [bytes, behind], isCut)
      const told = breaks === 'protocol_level' ? [{ cmd: 'connack', returnCode: 1 }] : []
      t.match({ isClosed, packets }, { isClosed: true, packets: told }, `${breaks}: ${what}`)
      t.equal(packets.length, told.length, `${breaks}: ${what}: nothing else is answered`)
      t.equal(test.broker.statistics().malformedPackets, malformedPackets + 1, `${breaks}: ${what}: counted`)
    }
    t.strictSame(test.origins, [], 'no credentials were checked')
    t.strictSame(test.ingest.seen, [], 'and nothing was ingested')
    for (const { what, breaks, bytes } of LATER) {
      const { malformedPackets } = test.broker.statistics()
      test.ingest.seen.length = 0
      const { packets, isClosed } = await play(t, test, transport, [connect(2, field('a')), before, bytes, behind], isCut)
      t.ok(isClosed, `${breaks}: ${what}`)
      t.strictSame(packets.map(({ cmd }) => cmd), ['connack', 'puback'], `${breaks}: ${what}: an earlier publish is acknowledged`)
      t.strictSame(test.ingest.seen.map(({ topic }) => topic), ['vital/before'], `${breaks}: ${what}: and nothing else is ingested`)
      t.equal(test.broker.statistics().malformedPackets, malformedPackets + 1, `${breaks}: ${what}: counted`)
    }
    t.notOk(watcher.isClosed, 'a subscriber stays connected')
    t.equal(test.broker.statistics().retainedMessages, 8, 'nothing is retained but statistics')
    const late = await RawClient.connected(t, test.port)
    await late.subscribe({ '#': 2, '$SYS/#': 2 })
    await late.waitFor('publish', 8)
    t.notOk(late.isClosed, 'and so does one that comes afterwards')
  })
}

t.test('the log names the rule and its clause', async (t) => {
  const test = await start(t)
  await play(t, test, 'tcp', [connect(0x3e, field('ward-3'), ...WILL)], false)
  await until(() => test.log.some(({ violation }) => violation === 'will_qos'), 'the line')
  t.match(test.log.filter(({ violation }) => violation !== undefined),
    exactly({ level: 30, clause: 'MQTT-3.1.2-14', msg: 'connection closed: malformed packet', remoteAddress: '127.0.0.1' }))
})

t.test('packets that MQTT allows pass', async (t) => {
  const test = await start(t)
  const allowed: Record<string, Buffer> = {
    'every field': connect(0xf6, field('größe'), field('chat/ä'), field(Buffer.from([0, 0xff])), field('名前'),
      field(Buffer.from([0, 0xff]))),
    'a will of QoS 0': connect(0x06, field('a'), ...WILL),
    'a user name alone': connect(0x82, field('a'), field('')),
    'MQTT 3.1': packet(0x10, field('MQIsdp'), [3, 2, 0, 60], field('a')),
    'a Mosquitto bridge': packet(0x10, field('MQTT'), [0x84, 2, 0, 60], field('a')),
    'U+FEFF and U+FFFD': connect(2, field('\ufeffa\ufffd')),
    'characters beyond the BMP': connect(2, field('\u{1f600}'))
  }
  for (const [what, bytes] of Object.entries(allowed)) {
    for (const isCut of [false, true]) {
      const later = [
        publish(0x3a, 'vital/größe'), publish(0x34, 'chat/\ufffd'), publish(0x30, '$other/\u{1f600}'),
        subscribe(field('+/+'), [2], field('#'), [1], field('a/+/b/#'), [0], field('/'), [0], field('größe'), [1]),
        unsubscribe(field('+/+'), field('#')), packet(0x40, [0, 9]), packet(0x62, [0, 9]), packet(0xc0)
      ]
      const stream = await openStream(t, test, 'tcp')
      const packets = collectPackets(stream)
      const answers = () => packets.filter(({ cmd }) => cmd !== 'publish').map(({ cmd }) => cmd).sort()
      await write(stream, [bytes, ...later], isCut)
      await until(() => answers().length === 7, `${what}: seven answers, not ${answers().join(' ')}`)
      t.strictSame(answers(), ['connack', 'pingresp', 'puback', 'pubcomp', 'pubrec', 'suback', 'unsuback'], what)
      stream.end(packet(0xe0))
      await once(stream, 'close')
    }
  }
  t.equal(test.broker.statistics().malformedPackets, 0)
})

t.test('every rule has a case, and each case breaks its rule', (t) => {
  t.strictSame([...new Set(CASES.map(({ breaks }) => breaks))].sort(), Object.keys(MALFORMED).sort(), 'each has a case')
  for (const { what, breaks, bytes } of CASES) {
    if (breaks === 'connect_missing' || breaks === 'connect_again') continue
    const bodyAt = bytes.findIndex((byte, index) => index > 0 && byte < 0x80) + 1
    t.equal(checkPacket(bytes, bodyAt), breaks, what)
  }
  t.end()
})
