import { once } from 'node:events'
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { startGateway } from '../helpers/gateway.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { startHttpServer } from '../helpers/http-server.ts'
import { startWellBehaved } from '../helpers/well-behaved.ts'
import { until } from '../helpers/until.ts'

const READING = '{"device":"band","timestamp":1750000000}'
const POST = 'POST /vital-data HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n'

/** A gateway with a device that is served during the whole test. */
async function startAttacked (t: Test) {
  const { connectionString, query } = await createTestDatabase(t)
  const gateway = await startGateway(t, { DATABASE_URL: connectionString })
  const good = await startWellBehaved(t, gateway)
  return {
    ...gateway,
    query,
    /** Asserts that the device was served during the attack and is served now, and that HTTP answers other clients. */
    async stillServes (): Promise<void> {
      const before = good.acknowledged()
      await until(() => good.acknowledged() > before + 2, 'acknowledgements of the well-behaved device')
      t.equal((await fetch(`${gateway.httpUrl}/health/live`)).status, 200)
      await good.end()
    },
    countReadings: async () => (await query<{ count: number }>('select count(*)::int from readings where device <> ' +
      '\'well-behaved\''))[0]?.count
  }
}

/** Opens a connection and gathers what comes back. */
async function open (t: Test, port: number) {
  const socket = connect(port, '127.0.0.1')
  const seen = { text: '', isClosed: false }
  t.teardown(() => { socket.destroy() })
  socket.setEncoding('latin1').on('data', (text: string) => { seen.text += text })
  socket.on('error', () => {}).on('close', () => { seen.isClosed = true })
  await once(socket, 'connect')
  return { socket, seen }
}

/** Sends bytes and returns what came back until the gateway closed, or until the given number of answers had come. */
async function send (t: Test, port: number, bytes: string | Buffer, answers = Infinity): Promise<string> {
  const { socket, seen } = await open(t, port)
  socket.write(bytes)
  await until(() => seen.isClosed || seen.text.split('HTTP/1.1 ').length > answers, 'the answer')
  socket.destroy()
  return seen.text
}

const statusesOf = (text: string) => [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => Number(status))

t.test('hundreds of slow headers and slow bodies delay no other request', async (t) => {
  const { httpPort, stillServes, countReadings } = await startAttacked(t)
  const slow = await Promise.all(Array.from({ length: 300 }, async (_, index) => {
    const connection = await open(t, httpPort)
    connection.socket.write(index % 2 === 0 ? 'GET /vital-data HTTP/1.1\r\nx: ' : `${POST}content-length: 1000\r\n\r\n[`)
    return connection
  }))
  await stillServes()
  t.notOk(slow.some(({ seen }) => seen.isClosed))
  t.equal(await countReadings(), 0)
})

t.test('a trickle of bytes does not extend the time-out of a request', async (t) => {
  const { app, port } = await startHttpServer(t)
  // Node looks every five seconds; the times themselves would make the test longer still.
  Object.assign(app.server, { headersTimeout: 1000, requestTimeout: 1000 })
  await Promise.all(['GET /vital-data HTTP/1.1\r\nx: ', `${POST}content-length: 1000\r\n\r\n[`].map(async (bytes) => {
    const { socket, seen } = await open(t, port)
    socket.write(bytes)
    const trickle = setInterval(() => { if (!seen.isClosed) socket.write('x') }, 100)
    t.teardown(() => clearInterval(trickle))
    await until(() => seen.isClosed, 'the slow request to be closed')
    t.match(seen.text, /^HTTP\/1\.1 408 /)
  }))
})

t.test('header bombs', async (t) => {
  const { httpPort, stillServes } = await startAttacked(t)
  const many = Array.from({ length: 3000 }, (_, index) => `h${index}: x\r\n`).join('')
  for (const headers of [many, `long: ${'x'.repeat(20_000)}\r\n`, `cookie: ${'a=b; '.repeat(5000)}\r\n`]) {
    t.strictSame(statusesOf(await send(t, httpPort, `GET /metrics HTTP/1.1\r\nhost: x\r\n${headers}\r\n`)), [431])
  }
  t.strictSame(statusesOf(await send(t, httpPort, `${POST}transfer-encoding: chunked\r\n\r\n1;${'x'.repeat(20_000)}\r\n`)), [400],
    'chunk extensions')
  await stillServes()
})

t.test('requests that a proxy and the gateway could cut differently are refused, and smuggled requests are not served', async (t) => {
  const { httpPort, stillServes, countReadings } = await startAttacked(t)
  const smuggled = `${POST}content-length: ${READING.length}\r\n\r\n${READING}`
  const chunked = '0\r\n\r\n'
  const shapes = [
    `content-length: ${chunked.length}\r\ntransfer-encoding: chunked\r\n\r\n${chunked}`,
    `transfer-encoding: chunked\r\ncontent-length: ${chunked.length}\r\n\r\n${chunked}`,
    `transfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n${chunked}`,
    `transfer-encoding: x, chunked, identity\r\n\r\n${chunked}`,
    `transfer-encoding : chunked\r\n\r\n${chunked}`,
    `transfer-encoding: xchunked\r\n\r\n${chunked}`,
    'content-length: 1\r\ncontent-length: 2\r\n\r\n[',
    'content-length: 1, 1\r\n\r\n[',
    'content-length: +1\r\n\r\n[',
    'content-length: 0x1\r\n\r\n[',
    'transfer-encoding: chunked\r\n\r\n1\r\n[\n0\r\n\r\n',
    'transfer-encoding: chunked\r\n\r\n+1\r\n[\r\n0\r\n\r\n',
    'transfer-encoding: chunked\r\n\r\n0x1\r\n[\r\n0\r\n\r\n',
    'transfer-encoding: chunked\r\n\r\n1 \n[\r\n0\r\n\r\n',
    'x: a\nb: c\rd\r\ncontent-length: 0\r\n\r\n'
  ]
  for (const shape of shapes) {
    t.strictSame(statusesOf(await send(t, httpPort, POST + shape + smuggled)), [400], JSON.stringify(shape))
  }
  t.equal(await countReadings(), 0)
  await stillServes()
})

t.test('compressed bodies are not unpacked', async (t) => {
  const { httpUrl, stillServes, countReadings } = await startAttacked(t)
  const bomb = gzipSync(Buffer.concat([Buffer.from(READING), Buffer.alloc(100_000_000, ' ')]))
  for (const encoding of ['gzip', 'br', 'deflate', 'zstd', 'identity, gzip']) {
    const answer = await fetch(`${httpUrl}/vital-data`, {
      method: 'POST', headers: { 'content-type': 'application/json', 'content-encoding': encoding }, body: bomb
    })
    t.equal(answer.status, 415, encoding)
    t.match(await answer.json(), { code: 'VITAL_UNSUPPORTED_CONTENT_ENCODING' })
  }
  t.equal(await countReadings(), 0)
  await stillServes()
})

t.test('JSON that is deep, wide, or uses names of Object.prototype', async (t) => {
  const { httpUrl, stillServes, countReadings } = await startAttacked(t)
  const post = async (body: string) => {
    const answer = await fetch(`${httpUrl}/vital-data`, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
    const text = await answer.text()
    t.notMatch(text, /stack|node:|\.ts:|\.js:/, 'nothing internal')
    return { status: answer.status, bytes: text.length }
  }
  const inReading = (field: string) => `{"device":"band","timestamp":1750000000,${field}}`
  const bodies = {
    'deep arrays': inReading(`"x":${'['.repeat(100_000)}${']'.repeat(100_000)}`),
    'deep objects': inReading(`"x":${'{"a":'.repeat(40_000)}1${'}'.repeat(40_000)}`),
    'a deep element of an array': `[${READING},${'['.repeat(100_000)}${']'.repeat(100_000)}]`,
    'too many names': inReading(Array.from({ length: 1001 }, (_, index) => `"n${index}":1`).join(',')),
    __proto__: inReading('"__proto__":{"isAdmin":true}'),
    'an escaped __proto__': inReading('"\\u005f_proto__":{"isAdmin":true}'),
    constructor: inReading('"constructor":{"prototype":{"isAdmin":true}}'),
    'a nested one': inReading('"x":[{"__proto__":{"isAdmin":true}}]'),
    'a device named so': '{"device":"__proto__","timestamp":1750000000}',
    'a thousand faults': `[${Array.from({ length: 1000 }, () => '{"device":5,"timestamp":"x","heartRateValue":"x"}').join(',')}]`,
    'numbers of 100,000 digits': inReading(`"heartRateValue":${'9'.repeat(100_000)}`)
  }
  for (const [name, body] of Object.entries(bodies)) {
    const { status, bytes } = await post(body)
    t.equal(status, 400, name)
    t.ok(bytes < 500_000, `${name}: an answer of ${bytes} bytes`)
  }
  t.equal(await countReadings(), 0)
  for (const query of ['__proto__=1', '__proto__[isAdmin]=1', 'constructor.prototype.isAdmin=1']) {
    t.equal((await fetch(`${httpUrl}/vital-data?${query}`)).status, 400, query)
  }
  t.equal((await fetch(`${httpUrl}/vital-data/__proto__`)).status, 400)
  t.equal((await fetch(`${httpUrl}/health/live`, { headers: { __proto__: 'x', constructor: 'x' } })).status, 200)
  t.equal((Object.prototype as { isAdmin?: boolean }).isAdmin, undefined)
  await stillServes()
})

t.test('thousands of pipelined requests: a connection may wait for 32 answers, then it is closed', async (t) => {
  const { httpPort, stillServes } = await startAttacked(t)
  const request = 'GET /docs/json HTTP/1.1\r\nhost: x\r\n\r\n'
  t.strictSame(statusesOf(await send(t, httpPort, request.repeat(32), 32)), Array.from({ length: 32 }, () => 200))
  const hostile = await Promise.all(Array.from({ length: 10 }, async () => {
    const connection = await open(t, httpPort)
    connection.socket.write(request.repeat(5000))
    return connection
  }))
  await until(() => hostile.every(({ seen }) => seen.isClosed), 'the connections to be closed')
  await stillServes()
})
