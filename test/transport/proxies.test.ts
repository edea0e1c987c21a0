import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import mqttPacket from 'mqtt-packet'
import t, { type Test } from 'tap'
import { createAddressSet, toAddress } from '../../broker/listen/address.ts'
import { parseProxyHeader } from '../../broker/listen/proxy-protocol.ts'
import { connectPacket, createRandom, durable, publishPacket, RawClient, settleDown } from '../helpers/broker.ts'
import { createAuthority } from '../helpers/certificates.ts'
import { exactly } from '../helpers/exactly.ts'
import { collectPackets, openStream, startTransports, type TestTransports } from '../helpers/transports.ts'
import { until } from '../helpers/until.ts'

/** Shared by all tests here, because making one takes a dozen processes. */
const sharedAuthority = createAuthority(t)

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')
const TEXT = 'PROXY TCP4 192.0.2.7 198.51.100.1 56324 8883\r\n'

/** A header of version 2. */
function binary (addresses: Buffer, { command = 1, family = 0x11, version = 2, announced = addresses.length } = {}): Buffer {
  const head = Buffer.from([(version << 4) | command, family, announced >> 8, announced & 0xff])
  return Buffer.concat([SIGNATURE, head, addresses])
}

const IPV4 = Buffer.from([192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 0x04, 0x22, 0xb3])
const IPV6 = Buffer.concat([
  Buffer.from('20010db8000000000000000000000007', 'hex'), Buffer.alloc(16), Buffer.from([0xdc, 0x04, 0x22, 0xb3])
])
const MAPPED = Buffer.concat([Buffer.from('00000000000000000000ffffc0000207', 'hex'), Buffer.alloc(16), Buffer.alloc(4)])

const WITHOUT_TLS = { isSecure: false, certificateNames: [] }

/** A field of a header of version 2. */
function field (type: number, value: Buffer | string): Buffer {
  const bytes = Buffer.from(value as string)
  return Buffer.concat([Buffer.from([type, bytes.length >> 8, bytes.length & 0xff]), bytes])
}

/** PP2_TYPE_SSL. */
function tlsField (flags: number, verify: number, ...inner: Buffer[]): Buffer {
  return field(0x20, Buffer.concat([Buffer.from([flags, 0, 0, 0, verify]), ...inner]))
}

t.test('the TLS field of a proxy header is parsed', (t) => {
  const version = field(0x21, 'TLSv1.3')
  const name = field(0x22, 'band-1')
  const noop = field(0x04, Buffer.alloc(9))
  const cases: Array<[what: string, fields: Buffer, isSecure: boolean, certificateNames: string[]]> = [
    ['a certificate on this connection', tlsField(0x03, 0, version, name), true, ['band-1']],
    ['a certificate of the resumed session', Buffer.concat([noop, tlsField(0x05, 0, name, version)]), true, ['band-1']],
    ['no certificate', tlsField(0x01, 0, version), true, []],
    ['a name without a certificate', tlsField(0x01, 0, name), true, []],
    ['a certificate that was not verified', tlsField(0x03, 1, name), true, []],
    ['an empty name', tlsField(0x03, 0, field(0x22, '')), true, []],
    ['a name that ends behind its field', tlsField(0x03, 0, Buffer.from([0x22, 0, 9, 0x61])), true, []],
    ['a name outside of the field', Buffer.concat([tlsField(0x03, 0), name]), true, []],
    ['a field too short for a verification', field(0x20, Buffer.from([3, 0, 0])), false, []],
    ['a field that ends behind the header', tlsField(0x03, 0, name).subarray(0, 9), false, []],
    ['other fields', Buffer.concat([noop, field(0x01, 'mqtt')]), false, []]
  ]
  for (const [what, fields, isSecure, certificateNames] of cases) {
    const bytes = binary(Buffer.concat([IPV4, fields]))
    t.strictSame(parseProxyHeader(bytes),
      { status: 'complete', bytes: bytes.length, client: { source: '192.0.2.7', isSecure, certificateNames } }, what)
  }
  t.end()
})

t.test('headers of both versions', (t) => {
  const cases: Array<[what: string, bytes: Buffer | string, source: string | null | 'invalid']> = [
    ['TCP4', TEXT, '192.0.2.7'],
    ['TCP6', 'PROXY TCP6 2001:db8::7 2001:db8::1 56324 8883\r\n', '2001:db8::7'],
    ['UNKNOWN', 'PROXY UNKNOWN\r\n', null],
    ['UNKNOWN with more', 'PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n', null],
    ['2, IPv4', binary(IPV4), '192.0.2.7'],
    ['2, IPv6', binary(IPV6, { family: 0x21 }), '2001:db8::7'],
    ['2, mapped', binary(MAPPED, { family: 0x21 }), '192.0.2.7'],
    ['2, with further fields', binary(Buffer.concat([IPV4, Buffer.alloc(500)])), '192.0.2.7'],
    ['2, LOCAL', binary(Buffer.alloc(0), { command: 0, family: 0 }), null],
    ['2, Unix socket', binary(Buffer.alloc(216), { family: 0x31 }), null],
    ['a family and an address that differ', 'PROXY TCP4 2001:db8::7 198.51.100.1 1 2\r\n', 'invalid'],
    ['no address', 'PROXY TCP4 localhost 198.51.100.1 1 2\r\n', 'invalid'],
    ['a port too high', 'PROXY TCP4 192.0.2.7 198.51.100.1 1 65536\r\n', 'invalid'],
    ['no ports', 'PROXY TCP4 192.0.2.7 198.51.100.1\r\n', 'invalid'],
    ['two spaces', 'PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n', 'invalid'],
    ['a line too long', `PROXY UNKNOWN ${'x'.repeat(200)}\r\n`, 'invalid'],
    ['a line without an end', `PROXY TCP4 ${'1'.repeat(200)}`, 'invalid'],
    ['MQTT', mqttPacket.generate(connectPacket()), 'invalid'],
    ['TLS', Buffer.from('160301', 'hex'), 'invalid'],
    ['version 3', binary(IPV4, { version: 3 }), 'invalid'],
    ['an unknown command', binary(IPV4, { command: 2 }), 'invalid'],
    ['an unknown family', binary(IPV4, { family: 0x41 }), 'invalid'],
    ['too short for its addresses', binary(IPV4.subarray(0, 8)), 'invalid'],
    ['an endless announcement', binary(IPV4, { announced: 65_535 }), 'invalid']
  ]
  for (const [what, bytes, source] of cases) {
    const behind = Buffer.from('behind')
    const header = parseProxyHeader(Buffer.concat([Buffer.from(bytes as string), behind]))
    if (source === 'invalid') t.strictSame(header, { status: 'invalid' }, what)
    else t.strictSame(header, { status: 'complete', bytes: bytes.length, client: { ...WITHOUT_TLS, source } }, what)
  }
  for (const bytes of [Buffer.from(TEXT), binary(IPV4), binary(IPV6, { family: 0x21 })]) {
    for (let end = 0; end < bytes.length; end++) t.equal(parseProxyHeader(bytes.subarray(0, end)).status, 'incomplete', `${end} bytes`)
  }
  const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000)
  t.comment(`seed ${seed}`)
  const random = createRandom(seed)
  for (let round = 0; round < 5000; round++) {
    const bytes = Buffer.from(round % 2 === 0 ? TEXT : binary(IPV4))
    for (let hit = 0; hit < 3; hit++) bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256)
    parseProxyHeader(bytes.subarray(0, Math.floor(random() * (bytes.length + 1))))
  }
  t.end()
})

t.test('addresses and ranges', (t) => {
  const has = createAddressSet(['10.0.0.0/8', '192.0.2.7', '2001:db8::/32', '::1'])
  for (const address of ['10.1.2.3', '192.0.2.7', '2001:db8::1', '::1']) t.ok(has(address), address)
  for (const address of ['11.0.0.1', '192.0.2.8', '2001:db9::1', '', 'x', '10.0.0.0/8']) t.notOk(has(address), address)
  for (const range of [
    '10.0.0.0/33', '10.0.0/8', 'host', '10.0.0.0/', '10.0.0.0/8/8', '::/129', '10.0.0.0/-1'
  ]) t.throws(() => createAddressSet([range]), RangeError, range)
  t.equal(toAddress('::ffff:192.0.2.7'), '192.0.2.7')
  t.equal(toAddress('::ffff:1'), '::ffff:1')
  t.equal(toAddress(undefined), '')
  t.end()
})

async function openSocket (t: Test, port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true }).on('error', () => {})
  t.teardown(() => { socket.destroy() })
  await once(socket, 'connect')
  return socket
}

const bytesOf = (...ids: number[]) => Buffer.concat([
  connectPacket(), ...ids.map((id) => publishPacket(id))
].map((packet) => mqttPacket.generate(packet)))

t.test('the header of a trusted proxy gives the client\'s address, before MQTT and before TLS, however it is cut', async (t) => {
  const transports = await startTransports(t, await sharedAuthority, {
    answer: durable, trustedProxies: ['127.0.0.1'], proxyProtocol: true
  })
  const { ports, origins, ca, ingest } = transports
  for (const header of [Buffer.from(TEXT), binary(IPV4), binary(Buffer.concat([IPV4, Buffer.alloc(300)]))]) {
    for (const step of [1, 7, 1000]) {
      const socket = await openSocket(t, ports.tcp)
      const packets = collectPackets(socket)
      const bytes = Buffer.concat([header, bytesOf(1, 2)])
      for (let at = 0; at < bytes.length; at += step) {
        socket.write(bytes.subarray(at, at + step))
        if (step === 7) await new Promise((resolve) => { setImmediate(resolve) })
      }
      await until(() => packets.length === 3, 'both acknowledgements')
      t.match(origins.pop(), { transport: 'tcp', remoteAddress: '192.0.2.7' })
    }
  }
  t.equal(ingest.seen.length, 18)

  const raw = await openSocket(t, ports.tls)
  raw.write(binary(IPV6, { family: 0x21 }))
  const secure = connectTls({ socket: raw, ca, servername: 'localhost' })
  t.teardown(() => { secure.destroy() })
  const packets = collectPackets(secure)
  secure.write(bytesOf(1))
  await until(() => packets.length === 2, 'the acknowledgement inside TLS')
  t.match(origins.pop(), { transport: 'tls', remoteAddress: '2001:db8::7' })

  const own = await openSocket(t, ports.tcp)
  const ownPackets = collectPackets(own)
  own.write(Buffer.concat([binary(Buffer.alloc(0), { command: 0, family: 0 }), bytesOf()]))
  await until(() => ownPackets.length === 1, 'CONNACK')
  t.match(origins.pop(), { remoteAddress: '127.0.0.1' })

  const certified = binary(Buffer.concat([IPV4, tlsField(0x03, 0, field(0x22, 'band-1'))]))
  const ended = await openSocket(t, ports.tcp)
  ended.write(Buffer.concat([certified, bytesOf()]))
  await until(() => origins.length === 1, 'the connection of a client whose TLS ended at the proxy')
  t.strictSame(origins.pop(), { transport: 'tls', remoteAddress: '192.0.2.7', certificateNames: ['band-1'] })

  const passedOn = await openSocket(t, ports.tls)
  passedOn.write(certified)
  const inner = connectTls({ socket: passedOn, ca, servername: 'localhost' }).on('error', () => {})
  await once(inner, 'secureConnect')
  inner.write(bytesOf())
  await until(() => origins.length === 1, 'the connection of a client whose TLS ended here')
  t.strictSame(origins.pop(), { transport: 'tls', remoteAddress: '192.0.2.7', certificateNames: [] },
    'the proxy that ends TLS tells the names')
})

t.test('health checks of a proxy do not count as clients and are not logged', async (t) => {
  const transports = await startTransports(t, await sharedAuthority, { trustedProxies: ['127.0.0.1'], proxyProtocol: true })
  for (const port of [transports.ports.tcp, transports.ports.tls]) {
    for (const bytes of [binary(Buffer.alloc(0), { command: 0, family: 0 }), Buffer.alloc(0)]) {
      const check = await openSocket(t, port)
      check.end(bytes)
      await once(check.resume(), 'close')
    }
  }
  await settleDown()
  t.strictSame(transports.origins, [])
  t.match(transports.broker.statistics(), { connections: 0, proxyHeadersRefused: 0 })
  // A check of the TLS port that leaves without a handshake is logged as a failed one.
  t.strictSame(transports.log.filter(({ msg }) => msg !== 'listening' && msg !== 'TLS handshake failed'), [])
})

t.test('a trusted proxy must send the header, in time and of bounded length', async (t) => {
  const transports = await startTransports(t, await sharedAuthority, {
    trustedProxies: ['127.0.0.1'], proxyProtocol: true, limits: { proxyHeaderTimeoutMs: 300 }
  })
  const { broker, ports, origins } = transports
  const endless = Buffer.concat([SIGNATURE, Buffer.from([0x21, 0x11, 0xff, 0xff]), Buffer.alloc(100_000)])
  for (const [at, bytes] of [
    bytesOf(), endless, Buffer.from(`PROXY TCP4 ${'1'.repeat(100_000)}`), Buffer.alloc(0), Buffer.from('PROXY TCP4')
  ].entries()) {
    for (const port of [ports.tcp, ports.tls]) {
      const socket = await openSocket(t, port)
      const closed = once(socket.resume(), 'close').catch(() => {})
      socket.write(bytes)
      await closed
    }
    t.equal(broker.statistics().proxyHeadersRefused, 2 * at + 2)
  }
  const gone = await openSocket(t, ports.tcp)
  gone.write('PROXY')
  gone.resetAndDestroy()
  await settleDown()
  t.strictSame(origins, [])
  t.equal(broker.statistics().connections, 0)
})

t.test('a PROXY header from any other address is refused', async (t) => {
  const spoofed = async (transports: TestTransports) => {
    const socket = await openSocket(t, transports.ports.tcp)
    const closed = once(socket.resume(), 'close').catch(() => {})
    socket.write(Buffer.concat([Buffer.from(TEXT), bytesOf()]))
    await closed
    t.strictSame(transports.origins, [], 'the header is not MQTT')
    const client = await RawClient.open(t, transports.ports.tcp)
    await client.connect()
    t.match(transports.origins, exactly({ remoteAddress: '127.0.0.1' }), 'without a header its own address counts')
  }
  await spoofed(await startTransports(t, await sharedAuthority, { trustedProxies: ['10.0.0.0/8'], proxyProtocol: true }))
  await spoofed(await startTransports(t, await sharedAuthority, { trustedProxies: ['127.0.0.1'] }))
})

t.test('X-Forwarded-For is used from trusted proxies only, and only the part that they have written', async (t) => {
  const authority = await sharedAuthority
  const addressOf = async (transports: TestTransports, transport: 'ws' | 'wss', forwardedFor?: string) => {
    const stream = await openStream(t, transports, transport, {
      webSocket: {
        headers: forwardedFor === undefined
          ? {}
          : { 'x-forwarded-for': forwardedFor }
      }
    })
    const packets = collectPackets(stream)
    stream.write(bytesOf())
    await until(() => packets.length === 1, 'CONNACK')
    stream.destroy()
    return transports.origins.pop()!.remoteAddress
  }
  const trusting = await startTransports(t, authority, { trustedProxies: ['127.0.0.1', '10.0.0.0/8'] })
  for (const transport of ['ws', 'wss'] as const) {
    t.equal(await addressOf(trusting, transport), '127.0.0.1')
    t.equal(await addressOf(trusting, transport, '192.0.2.7'), '192.0.2.7')
    t.equal(await addressOf(trusting, transport, '203.0.113.1, 192.0.2.7, 10.1.1.1'), '192.0.2.7',
      'entries left of the client are written by the client')
    t.equal(await addressOf(trusting, transport, '10.2.2.2, 10.1.1.1'), '10.2.2.2')
    t.equal(await addressOf(trusting, transport, 'nonsense, 10.1.1.1'), '10.1.1.1')
    t.equal(await addressOf(trusting, transport, '192.0.2.7, unknown'), '127.0.0.1')
  }
  const distrusting = await startTransports(t, authority)
  for (const transport of ['ws', 'wss'] as const) t.equal(await addressOf(distrusting, transport, '192.0.2.7'), '127.0.0.1')
})
