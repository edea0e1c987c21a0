import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { request } from 'node:http'
import { connect, type Socket } from 'node:net'
import mqttPacket from 'mqtt-packet'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { connectPacket, durable, publishPacket, settleDown } from '../helpers/broker.ts'
import { sendRaw } from '../helpers/http-server.ts'
import { createAuthority } from '../helpers/certificates.ts'
import { collectPackets, openStream, startTransports, type TestTransports } from '../helpers/transports.ts'
import { until } from '../helpers/until.ts'

/** Shared by all tests here, because making one takes a dozen processes. */
const sharedAuthority = createAuthority(t)

const BINARY = 0x2
const TEXT = 0x1
const CONTINUATION = 0x0
const PING = 0x9

/** A frame of RFC 6455 §5.2; a client's is masked. */
function frame (payload: Buffer, { opcode = BINARY, fin = true, masked = true, reserved = 0, announced = payload.length } = {}): Buffer {
  const length = announced < 126
    ? Buffer.from([announced])
    : announced < 65_536
      ? Buffer.from([126, announced >> 8, announced & 0xff])
      : Buffer.concat([Buffer.from([127]), toBytes(announced)])
  length[0]! |= masked ? 0x80 : 0
  const mask = masked ? randomBytes(4) : Buffer.alloc(0)
  const body = Buffer.from(payload.map((byte, at) => masked ? byte ^ mask[at % 4]! : byte))
  return Buffer.concat([Buffer.from([(fin ? 0x80 : 0) | (reserved << 4) | opcode]), length, mask, body])
}

function toBytes (value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(value))
  return bytes
}

const UPGRADE = {
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
  'sec-websocket-protocol': 'mqtt'
}

/** The HTTP status that answers an upgrade; 101 when it is accepted. */
async function tryUpgrade (
  t: Test, { ports }: TestTransports, path: string, headers: Record<string, string | undefined> = {}
): Promise<number> {
  const merged = Object.fromEntries(Object.entries({
    ...UPGRADE, ...headers
  }).filter(([, value]) => value !== undefined)) as Record<string, string>
  const attempt = request({ port: ports.ws, host: '127.0.0.1', path, headers: merged })
  attempt.end()
  return await new Promise((resolve, reject) => {
    attempt.once('upgrade', (_response, socket) => {
      t.teardown(() => { socket.destroy() })
      resolve(101)
    })
    attempt.once('response', (response) => {
      response.resume()
      resolve(response.statusCode!)
    })
    attempt.once('error', reject)
  })
}

/** The raw socket of an upgraded connection, and the close code that comes, 0 for none. */
async function openRaw (t: Test, { ports }: TestTransports): Promise<{ socket: Socket, closeCode: () => Promise<number> }> {
  const socket = connect({ port: ports.ws, host: '127.0.0.1' })
  t.teardown(() => { socket.destroy() })
  socket.on('error', () => {})
  socket.write(`GET /mqtt HTTP/1.1\r\nhost: x\r\n${Object.entries(UPGRADE).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`)
  let received = Buffer.alloc(0)
  socket.on('data', (chunk) => { received = Buffer.concat([received, chunk]) })
  const closed = new Promise<void>((resolve) => { socket.once('close', () => { resolve() }) })
  await until(() => received.includes('\r\n\r\n'), 'the upgrade')
  const headBytes = received.indexOf('\r\n\r\n') + 4
  return {
    socket,
    closeCode: async () => {
      await closed
      const at = received.indexOf(Buffer.from([0x88]), headBytes)
      return at === -1 ? 0 : received.readUInt16BE(at + 2)
    }
  }
}

t.test('broken and foreign frames close the connection, and none of their bytes are used', async (t) => {
  const transports = await startTransports(t, await sharedAuthority, { answer: durable })
  const bytes = mqttPacket.generate(connectPacket())
  const cases: Array<[what: string, frames: Buffer, code: number]> = [
    ['text', frame(Buffer.from('hello'), { opcode: TEXT }), 1003],
    ['MQTT in a text frame', frame(Buffer.from('\x10\x00'), { opcode: TEXT }), 1003],
    ['not masked', frame(bytes, { masked: false }), 1002],
    ['a reserved bit, which compression would set', frame(bytes, { reserved: 4 }), 1002],
    ['an unknown opcode', frame(bytes, { opcode: 0x7 }), 1002],
    ['a continuation of nothing', frame(bytes, { opcode: CONTINUATION }), 1002],
    ['a frame within a fragmented one', Buffer.concat([frame(bytes, { fin: false }), frame(bytes)]), 1002],
    ['a fragmented ping', frame(Buffer.from('x'), { opcode: PING, fin: false }), 1002],
    ['a ping of 126 bytes', frame(Buffer.alloc(126), { opcode: PING }), 1002],
    ['an oversized frame', frame(Buffer.alloc(0), { announced: 300_000 }), 1009],
    ['the largest announcement', frame(Buffer.alloc(0), { announced: Number.MAX_SAFE_INTEGER }), 1009],
    ['fragments that together are too large', Buffer.concat(Array.from({ length: 6 }, (_, at) => frame(Buffer.alloc(60_000), {
      fin: false,
      opcode: at === 0
        ? BINARY
        : CONTINUATION
    }))), 1009],
    ['a first frame larger than any CONNECT', frame(Buffer.alloc(200_000)), 1009],
    ['too many fragments', Buffer.concat(Array.from({ length: 2000 }, (_, at) => frame(Buffer.from([0]), {
      fin: false,
      opcode: at === 0
        ? BINARY
        : CONTINUATION
    }))), 1008],
    ['noise', randomBytes(5000), -1],
    ['masked noise that is not MQTT', frame(randomBytes(200)), -1]
  ]
  for (const [what, frames, code] of cases) {
    const { socket, closeCode } = await openRaw(t, transports)
    socket.write(frames)
    const actual = await closeCode()
    if (code === -1) t.pass(what)
    else t.equal(actual, code, what)
  }
  t.strictSame(transports.origins, [], 'no client reached CONNECT')
  await until(() => transports.broker.statistics().connections === 0, 'all to be forgotten')
})

t.test('packets may span fragments and frames, with pings between, byte by byte', async (t) => {
  const transports = await startTransports(t, await sharedAuthority, { answer: durable })
  const { socket } = await openRaw(t, transports)
  const bytes = Buffer.concat([connectPacket(), publishPacket(1), publishPacket(2)].map((packet) => mqttPacket.generate(packet)))
  for (const [at, byte] of bytes.entries()) {
    const isFragmented = at % 3 !== 0 || at + 3 > bytes.length
    socket.write(isFragmented
      ? frame(Buffer.from([byte]))
      : Buffer.concat([frame(Buffer.from([byte]), { fin: false }), frame(Buffer.from('p'), { opcode: PING }), frame(Buffer.alloc(0),
        { opcode: CONTINUATION })]))
  }
  await until(() => transports.ingest.seen.length === 2, 'both publishes')
})

t.test('a client that sends pings and reads no pongs takes no memory', async (t) => {
  const transports = await startTransports(t, await sharedAuthority)
  const { socket } = await openRaw(t, transports)
  socket.pause()
  const pings = Buffer.concat(Array.from({ length: 500 }, () => frame(Buffer.alloc(125), { opcode: PING })))
  const closed = new Promise((resolve) => { socket.once('close', resolve) })
  let sent = 0
  while (!socket.destroyed && sent < 500_000_000) {
    sent += pings.length
    if (!socket.write(pings)) await Promise.race([once(socket, 'drain').catch(() => {}), closed])
  }
  t.ok(socket.destroyed, 'closed')
  await until(() => transports.broker.statistics().connections === 0, 'it to be forgotten')
})

t.test('only /mqtt with the subprotocol is a WebSocket; other upgrade requests are plain requests', async (t) => {
  const transports = await startTransports(t, await sharedAuthority, { webSocketOrigins: [] })
  t.equal(await tryUpgrade(t, transports, '/mqtt'), 101)
  t.equal(await tryUpgrade(t, transports, '/mqtt?token=x'), 101)
  t.equal(await tryUpgrade(t, transports, '/mqtt', { 'sec-websocket-protocol': 'mqttv3.1' }), 101)
  for (const path of ['/', '/mqtt/', '/mqtt/x', '/MQTT', '/vital-data/mqtt/..', '/nothing']) {
    t.equal(await tryUpgrade(t, transports, path),
      404, path)
  }
  t.equal(await tryUpgrade(t, transports, '/metrics'), 200)
  t.equal(await tryUpgrade(t, transports, '/mqtt', { upgrade: 'h2c' }), 404)
  const wrong: Array<Record<string, string | undefined>> = [
    { 'sec-websocket-protocol': undefined }, { 'sec-websocket-protocol': 'chat' }, { 'sec-websocket-protocol': 'mqtt, mqtt' },
    { 'sec-websocket-key': undefined }, { 'sec-websocket-key': 'short' }, { 'sec-websocket-version': '7' }
  ]
  for (const headers of wrong) t.equal(await tryUpgrade(t, transports, '/mqtt', headers), 400, JSON.stringify(headers))
  const answer = await sendRaw(t, transports.ports.ws,
    'GET /mqtt HTTP/1.1\r\nhost: ' +
      `x\r\n${Object.entries({ ...UPGRADE, 'sec-websocket-version': '99' }).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`)
  t.match(answer, /^HTTP\/1\.1 400 [^]*sec-websocket-version: 13\r\n[^]*"code":"VITAL_BAD_REQUEST"/i)

  // Java's HttpClient begins every connection in this way.
  const posted = await sendRaw(t, transports.ports.ws, 'POST /vital-data HTTP/1.1\r\nhost: x\r\nconnection: Upgrade, HTTP2-Settings, ' +
    'close\r\nupgrade: h2c\r\n' +
    'http2-settings: AAEAAEAA\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}')
  t.match(posted, /^HTTP\/1\.1 202 /)
})

t.test('a page of a foreign origin may not connect', async (t) => {
  const transports = await startTransports(t, await sharedAuthority, { webSocketOrigins: ['https://ward.example.org'] })
  const { ws: port } = transports.ports
  const cases: Array<[origin: string | undefined, host: string, status: number]> = [
    [undefined, `127.0.0.1:${port}`, 101],
    ['https://ward.example.org', 'anything', 101],
    ['https://WARD.example.org', 'anything', 101],
    [`http://127.0.0.1:${port}`, `127.0.0.1:${port}`, 101],
    [`http://localhost:${port}`, `localhost:${port}`, 101],
    [`http://[::1]:${port}`, `[::1]:${port}`, 101],
    ['http://192.0.2.1', '192.0.2.1:80', 101],
    ['https://evil.example', `127.0.0.1:${port}`, 403],
    ['http://ward.example.org', 'ward.example.org', 403],
    ['https://ward.example.org.evil.example', `127.0.0.1:${port}`, 403],
    ['https://ward.example.org:444', 'anything', 403],
    // DNS rebinding: the host name of the page now resolves to this machine.
    [`http://evil.example:${port}`, `evil.example:${port}`, 403],
    [`http://127.0.0.1.evil.example:${port}`, `127.0.0.1.evil.example:${port}`, 403],
    [`http://localhost:${port + 1}`, `localhost:${port}`, 403],
    ['null', `127.0.0.1:${port}`, 403],
    ['', `127.0.0.1:${port}`, 403],
    ['file://', `127.0.0.1:${port}`, 403]
  ]
  for (const [origin, host, status] of cases) {
    t.equal(await tryUpgrade(t, transports, '/mqtt', { origin, host }), status,
    `${origin} → ${host}`)
  }
  t.equal(transports.refused(), cases.filter(([, , status]) => status === 403).length)
})

t.test('compression is not negotiated', async (t) => {
  const transports = await startTransports(t, await sharedAuthority)
  const client = new WebSocket(`ws://127.0.0.1:${transports.ports.ws}/mqtt`, 'mqtt', { perMessageDeflate: true })
  t.teardown(() => { client.terminate() })
  await once(client, 'open')
  t.equal(client.extensions, '')
  t.equal(client.protocol, 'mqtt')
})

t.test('a subscriber that does not read is bounded as over TCP', async (t) => {
  const transports = await startTransports(t, await sharedAuthority, { limits: { subscriberBufferBytesMax: 100_000 } })
  const { broker } = transports
  const stream = await openStream(t, transports, 'ws')
  const packets = collectPackets(stream)
  stream.write(mqttPacket.generate(connectPacket()))
  stream.write(mqttPacket.generate({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: '#', qos: 0 }] }))
  await until(() => packets.some(({ cmd }) => cmd === 'suback'), 'SUBACK')
  stream.pause()
  for (let sent = 0; sent < 2000; sent++) {
    broker.publish({ topic: 'vital/x', payload: Buffer.alloc(10_000), qos: 0 })
    if (sent % 100 === 0) await new Promise((resolve) => { setImmediate(resolve) })
  }
  await until(() => broker.statistics().deliveriesDropped > 100, 'deliveries to be dropped')
})

t.test('a stop closes WebSockets with "going away", and new upgrades are refused', async (t) => {
  const transports = await startTransports(t, await sharedAuthority)
  const client = new WebSocket(`ws://127.0.0.1:${transports.ports.ws}/mqtt`, 'mqtt')
  client.on('error', () => {})
  await once(client, 'open')
  client.send(mqttPacket.generate(connectPacket()))
  await once(client, 'message')
  transports.stopWebSockets()
  t.equal(await tryUpgrade(t, transports, '/mqtt'), 503)
  const closed = once(client, 'close')
  await transports.broker.stop()
  t.equal((await closed)[0], 1001)
})

t.test('a connection that upgrades and then sends nothing is closed', async (t) => {
  const transports = await startTransports(t, await sharedAuthority, { limits: { connectTimeoutMs: 200 } })
  const { closeCode } = await openRaw(t, transports)
  t.equal(await closeCode(), 1000)
  await settleDown()
  t.equal(transports.broker.statistics().connections, 0)
})
