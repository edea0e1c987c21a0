import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls'
import mqttPacket from 'mqtt-packet'
import t, { type Test } from 'tap'
import { parseAlternativeNames } from '../../broker/listen/certificate-names.ts'
import { connectPacket, durable, settleDown } from '../helpers/broker.ts'
import { createAuthority } from '../helpers/certificates.ts'
import {
  collectPackets, type ConnectOptions, openStream, startTransports, type TestTransports, type Transport
} from '../helpers/transports.ts'
import { until } from '../helpers/until.ts'

/** Shared by all tests here, because making one takes a dozen processes. */
const sharedAuthority = createAuthority(t)

/** The result of a handshake: the protocol version, or the error code. */
async function tryHandshake (
  t: Test, { ports, ca }: TestTransports, transport: 'tls' | 'wss', options: ConnectionOptions = {}
): Promise<string> {
  const socket: TLSSocket = connectTls({ port: ports[transport], host: '127.0.0.1', ca, ...options })
  t.teardown(() => { socket.destroy() })
  const failed = once(socket, 'error').then(([error]) => (error as NodeJS.ErrnoException).code ?? 'error')
  const closed = once(socket, 'close').then(() => 'closed')
  return await Promise.race([once(socket, 'secureConnect').then(() => socket.getProtocol()!), failed, closed])
}

/** Like `once`, but an error does not reject. */
const closeOf = (socket: Socket) => new Promise<void>((resolve) => { socket.once('close', () => { resolve() }) })

/** The certificate names that the broker has of a client that connects with these options. */
async function namesOf (t: Test, transports: TestTransports, transport: Transport, options: ConnectOptions): Promise<readonly string[]> {
  const stream = await openStream(t, transports, transport, options)
  const packets = collectPackets(stream)
  stream.write(mqttPacket.generate(connectPacket()))
  await until(() => packets.length === 1, 'CONNACK')
  stream.destroy()
  return transports.origins.at(-1)!.certificateNames
}

t.test('TLS 1.2 and 1.3 are accepted, older versions refused', async (t) => {
  const transports = await startTransports(t, await sharedAuthority)
  for (const transport of ['tls', 'wss'] as const) {
    const of = (version: 'TLSv1' | 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3') => tryHandshake(t, transports, transport, {
      // Security level 0, because our OpenSSL would refuse to offer the old versions otherwise.
      minVersion: version, maxVersion: version, ciphers: 'ALL:@SECLEVEL=0'
    })
    t.equal(await of('TLSv1.3'), 'TLSv1.3')
    t.equal(await of('TLSv1.2'), 'TLSv1.2')
    t.match(await of('TLSv1.1'), /PROTOCOL_VERSION/, `${transport} 1.1`)
    t.match(await of('TLSv1'), /PROTOCOL_VERSION/, `${transport} 1.0`)
  }
})

t.test('a handshake that does not end is closed by a time-out, and others are served meanwhile', async (t) => {
  const transports = await startTransports(t, await sharedAuthority, { answer: durable, limits: { handshakeTimeoutMs: 1500 } })
  const silent = connect({ port: transports.ports.tls, host: '127.0.0.1' })
  const half = connect({ port: transports.ports.tls, host: '127.0.0.1' })
  for (const socket of [silent, half]) {
    socket.on('error', () => {}).resume()
    t.teardown(() => { socket.destroy() })
  }
  // The first bytes of a ClientHello that announces 512.
  half.write(Buffer.from('1603010200010001fc0303', 'hex'))
  const closed = Promise.all([closeOf(silent), closeOf(half)])
  await namesOf(t, transports, 'tls', {})
  await closed
  t.equal(transports.broker.statistics().handshakesFailed, 2)
})

t.test('a stop does not wait for a handshake or a PROXY header', async (t) => {
  const transports = await startTransports(t, await sharedAuthority, { trustedProxies: ['127.0.0.1'], proxyProtocol: true })
  const plain = await startTransports(t, await sharedAuthority)
  const sockets = [transports.ports.tcp, transports.ports.tls, plain.ports.tls].map((port) => connect({
    port, host: '127.0.0.1'
  }).on('error', () => {}).resume())
  t.teardown(() => { for (const socket of sockets) socket.destroy() })
  await Promise.all(sockets.map((socket) => once(socket, 'connect')))
  // By then these are accepted, too.
  await settleDown()
  const closed = Promise.all(sockets.map(closeOf))
  await Promise.all([transports.broker.stop(), plain.broker.stop()])
  await closed
})

t.test('handshakes under way are bounded', async (t) => {
  const transports = await startTransports(t, await sharedAuthority, { limits: { handshakesMax: 3, handshakeTimeoutMs: 2000 } })
  const sockets = Array.from({ length: 5 }, () => connect({ port: transports.ports.tls, host: '127.0.0.1' }).on('error', () => {}).resume())
  t.teardown(() => { for (const socket of sockets) socket.destroy() })
  await until(() => transports.broker.statistics().handshakesRefused === 2, 'two to be refused')
  await until(() => sockets.filter(({ destroyed }) => destroyed).length === 2, 'two to be closed')
  for (const socket of sockets) socket.destroy()
  await until(() => transports.broker.statistics().handshakesFailed === 3, 'the rest to be forgotten')
  t.strictSame(await namesOf(t, transports, 'tls', {}), [], 'a further handshake succeeds')
})

t.test('an address has its share of the handshakes', async (t) => {
  const transports = await startTransports(t, await sharedAuthority, {
    trustedProxies: ['127.0.0.1'], proxyProtocol: true, limits: { handshakesPerAddressMax: 2 }
  })
  const open = (address: string) => {
    const socket = connect({ port: transports.ports.tls, host: '127.0.0.1' }).on('error', () => {})
    t.teardown(() => { socket.destroy() })
    socket.write(`PROXY TCP4 ${address} 127.0.0.1 1 2\r\n`)
    return socket
  }
  const silent = [open('192.0.2.7'), open('192.0.2.7'), open('192.0.2.7')].map((socket) => socket.resume())
  await until(() => transports.broker.statistics().handshakesRefused === 1, 'one to be refused')
  const handshake = (address: string) => once(connectTls({ socket: open(address), ca: transports.ca, servername: 'localhost' }),
    'secureConnect')
  await handshake('192.0.2.8')
  for (const socket of silent) socket.destroy()
  await until(() => transports.broker.statistics().handshakesFailed === 2, 'the silent ones to be forgotten')
  await handshake('192.0.2.7')
})

t.test('plain bytes on a TLS port, and a reset in mid-handshake, do not affect other clients', async (t) => {
  const transports = await startTransports(t, await sharedAuthority)
  for (const transport of ['tls', 'wss'] as const) {
    for (const bytes of [mqttPacket.generate(connectPacket()), Buffer.from('GET / HTTP/1.1\r\nhost: x\r\n\r\n'), Buffer.alloc(70_000,
      0x16)]) {
      const socket = connect({ port: transports.ports[transport], host: '127.0.0.1' }).on('error', () => {}).resume()
      socket.write(bytes)
      await closeOf(socket)
    }
    const reset = connect({ port: transports.ports[transport], host: '127.0.0.1' }).on('error', () => {})
    await once(reset, 'connect')
    reset.write(Buffer.from('160301', 'hex'))
    reset.resetAndDestroy()
    t.strictSame(await namesOf(t, transports, transport, {}), [])
  }
})

t.test('only a certificate of the authority authenticates a device', async (t) => {
  const authority = await sharedAuthority
  const transports = await startTransports(t, authority, { files: { clientCaFile: authority.ca } })
  const stranger = await createAuthority(t, 'Test CA')
  const read = async ({ cert, key }: { cert: string, key: string }) => ({ cert: await readFile(cert), key: await readFile(key) })
  const device = await read(await authority.issue({
    name: 'band-1', use: 'clientAuth', alternativeNames: 'DNS:band-1.ward.example,URI:urn:device:band-1'
  }))
  for (const transport of ['tls', 'wss'] as const) {
    t.strictSame(await namesOf(t, transports, transport, device), ['band-1', 'band-1.ward.example', 'urn:device:band-1'], transport)
    const { session } = await resume(t, transports, transport, device)
    t.strictSame(await namesOf(t, transports, transport, { session }), ['band-1', 'band-1.ward.example', 'urn:device:band-1'],
      `${transport}, resumed`)
    t.strictSame(await namesOf(t, transports, transport, {}), [], 'none')
    t.strictSame(await namesOf(t, transports, transport, await read(await stranger.issue({ name: 'band-1', use: 'clientAuth' }))), [],
      'a certificate of another authority with the same name')
    t.strictSame(await namesOf(t, transports, transport, await read(await authority.issue({
      name: 'band-1', use: 'clientAuth', days: -1
    }))), [], 'expired')
    t.strictSame(await namesOf(t, transports, transport, await read(await authority.issue({ name: 'band-1', use: 'serverAuth' }))), [],
      'a server certificate')
  }

  const strict = await startTransports(t, authority, { files: { clientCaFile: authority.ca, clientCertRequired: true } })
  t.strictSame(await namesOf(t, strict, 'tls', device), ['band-1', 'band-1.ward.example', 'urn:device:band-1'])
  await until(() => strict.origins.length === 1, 'the first')
  for (const transport of ['tls', 'wss'] as const) {
    const socket = connectTls({ port: strict.ports[transport], host: '127.0.0.1', ca: strict.ca }).on('error', () => {})
    let answer = ''
    socket.setEncoding('latin1').on('data', (text: string) => { answer += text })
    socket.write(transport === 'tls'
      ? mqttPacket.generate(connectPacket())
      : 'GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')
    await Promise.race([closeOf(socket), until(() => answer !== '', 'an answer')])
    t.equal(answer, '', `${transport}: no certificate, no answer`)
    socket.destroy()
  }
  t.equal(strict.origins.length, 1, 'a client without a certificate does not reach CONNECT')
})

async function resume (
  t: Test, { ports, ca }: TestTransports, transport: 'tls' | 'wss', options: ConnectionOptions
): Promise<{ session: Buffer }> {
  const socket = connectTls({ port: ports[transport], host: '127.0.0.1', ca, ...options })
  t.teardown(() => { socket.destroy() })
  const [session] = await once(socket, 'session') as [Buffer]
  socket.destroy()
  return { session }
}

t.test('a name within another name of the subject is not matched', (t) => {
  t.strictSame(parseAlternativeNames('DNS:a, URI:urn:b, IP Address:127.0.0.1, email:c@d'), ['a', 'urn:b', 'c@d'])
  t.strictSame(parseAlternativeNames('DirName:"CN = x, DNS:admin", DNS:a'), ['a'])
  t.strictSame(parseAlternativeNames('DNS:b, DirName:x"y, DNS:admin", DNS:a'), ['b'], 'the first unreadable name ends the list')
  t.strictSame(parseAlternativeNames('DNS:"a\\u002c DNS:admin"'), ['a, DNS:admin'])
  t.strictSame(parseAlternativeNames(''), [])
  t.end()
})
