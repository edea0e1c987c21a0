/** While nothing can be stored, or a client does not read, the gateway reads a bounded amount. Nothing is lost or stuck. */
import { connect as connectHttp2 } from 'node:http2'
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { compressionAlgorithms, status } from '@grpc/grpc-js'
import pg from 'pg'
import t, { type Test } from 'tap'
import { encodeBytes, MessageReader, toTag, varintBytes, WIRE, writeVarint } from '../../src/grpc/wire.ts'
import { readLedger, startGateway } from '../helpers/gateway.ts'
import { spawnGateway } from '../helpers/gateway-process.ts'
import { openGrpcClient } from '../helpers/grpc.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'

/** The bound that `src/grpc/limits.ts` sets. */
const UNANSWERED_MAX = 1024
/** Small messages that have come already and that the stream of the library still passes on: its highWaterMark. */
const READ_AHEAD = 16

/** Longer than the acknowledgement time-out, so that the buffer fills more than once. `HOLD_MS=60000` for a longer run. */
const HOLD_MS = Number(process.env['HOLD_MS'] ?? 12_000)

/** Holds every batch in PostgreSQL until it is released. */
async function hold (t: Test, connectionString: string) {
  const client = new pg.Client({ connectionString })
  await client.connect()
  let isHeld = true
  const release = async () => {
    if (!isHeld) return
    isHeld = false
    await client.query('rollback')
    await client.end()
  }
  t.teardown(release)
  await client.query('begin; lock table readings in access exclusive mode')
  return release
}

/** A gateway that waits so long for PostgreSQL that nothing goes to the spool. */
async function startHeld (t: Test, variables: Record<string, string> = {}) {
  const { connectionString, query } = await createTestDatabase(t)
  const gateway = await startGateway(t, {
    DATABASE_URL: connectionString, VITAL_GRPC_PORT: '0', VITAL_COMMIT_TIMEOUT_MS: '60000', VITAL_ACK_TIMEOUT_MS: '60000', ...variables
  })
  return { ...gateway, query, hold: () => hold(t, connectionString), client: openGrpcClient(t, gateway.grpcPort!) }
}

/** A Publish stream as bytes, with a window of our own. */
function openRaw (t: Test, port: number, initialWindowSize: number) {
  const session = connectHttp2(`http://127.0.0.1:${port}`, { settings: { initialWindowSize } })
  session.on('error', () => {})
  t.teardown(() => { session.destroy() })
  const stream = session.request({
    ':method': 'POST', ':path': '/vital.v1.Ingest/Publish', 'content-type': 'application/grpc', te: 'trailers'
  })
  stream.on('error', () => {})
  let bytes = 0
  stream.on('data', (chunk: Buffer) => { bytes += chunk.length })
  return { session, stream, received: () => bytes }
}

function frame (number: number, device: string): Buffer {
  const digits = Buffer.alloc(varintBytes(number))
  writeVarint(digits, 0, number)
  const timestamp = Buffer.alloc(9)
  timestamp[0] = toTag(2, WIRE.fixed64)
  timestamp.writeDoubleLE(1750240000 + number, 1)
  const message = Buffer.concat([
    Buffer.from([toTag(1, WIRE.varint)]), digits, encodeBytes(2, Buffer.concat([encodeBytes(1, device), timestamp]))
  ])
  const head = Buffer.alloc(5)
  head.writeUInt32BE(message.length, 1)
  return Buffer.concat([head, message])
}

t.test('a client that does not read its answers is not read either, until it reads again; others go on', async (t) => {
  const { grpcPort, httpUrl, client, query } = await startHeld(t)
  const { session, stream, received } = openRaw(t, grpcPort!, 0)
  const sent = 3 * UNANSWERED_MAX
  for (let number = 1; number <= sent; number++) stream.write(frame(number, 'silent'))
  const ledger = async () => await readLedger(httpUrl)
  await until(async () => (await ledger()).received >= UNANSWERED_MAX && (await ledger()).pending === 0, 'the bound')
  await sleep(500)
  const { received: read } = await ledger()
  t.ok(read <= UNANSWERED_MAX + READ_AHEAD, `${read} were read`)
  t.match(await client.send([{ device: 'other', timestamp: 1 }]), { outcome: 'STORED' })
  t.equal(received(), 0)
  session.settings({ initialWindowSize: 65_535 })
  await until(async () => (await ledger()).stored === sent + 1, 'the rest')
  await until(() => received() > 0, 'answers')
  t.same(await query('select count(distinct time)::int as readings from readings where device = \'silent\''), [{ readings: sent }])
  t.match(await ledger(), { received: sent + 1, refused: 0, balance: 0 })
})

t.test('faults that a client does not read are bounded in bytes', async (t) => {
  const { grpcPort, httpUrl } = await startHeld(t)
  const { stream } = openRaw(t, grpcPort!, 0)
  // Each has a fault whose path is 8 KiB long.
  const long = encodeBytes(2, Buffer.concat([encodeBytes(1, 'a'), encodeBytes(15, `{"${'x'.repeat(8192)}":1e400}`)]))
  const longHead = Buffer.alloc(5)
  longHead.writeUInt32BE(long.length, 1)
  for (let count = 0; count < 200; count++) stream.write(Buffer.concat([longHead, long]))
  await until(async () => (await readLedger(httpUrl)).refused >= 8, 'refusals')
  await sleep(500)
  const { refused, balance } = await readLedger(httpUrl)
  t.ok(refused < 40, `${refused} of 200 were read`)
  t.equal(balance, 0)
})

t.test('a request that is too large is rejected by its number, and the stream goes on', async (t) => {
  const { client, httpUrl } = await startHeld(t)
  const { write, answerTo, stream, ended } = client.open()
  const blob = (bytes: number) => ({ device: 'a', timestamp: bytes, other: Buffer.from(JSON.stringify({ blob: 'x'.repeat(bytes) })) })
  write({ number: 1, readings: [blob(300_000)] })
  write({ number: 2, readings: [blob(250_000)] })
  t.match(await answerTo(1), { outcome: 'REJECTED', code: 'VITAL_BODY_TOO_LARGE' })
  t.match(await answerTo(2), { outcome: 'STORED' })
  t.match(await client.send([blob(300_000)], 3), { number: '3', outcome: 'REJECTED', code: 'VITAL_BODY_TOO_LARGE' })
  t.match(await readLedger(httpUrl), { received: 1, stored: 1, balance: 0 }, 'as over HTTP it is not decoded, and not counted')
  write({ number: 4, readings: [blob(1_100_000)] })
  t.equal((await ended()).code, status.RESOURCE_EXHAUSTED, 'the bound of the library')
  stream.end()
})

t.test('the process of a client dies with 1,000 answers due: the ledger balances', async (t) => {
  const { grpcPort, httpUrl, hold, query, client } = await startHeld(t)
  const release = await hold()
  const { session, stream } = openRaw(t, grpcPort!, 65_535)
  for (let number = 1; number <= 1000; number++) stream.write(frame(number, 'dying'))
  await until(async () => (await readLedger(httpUrl)).pending === 1000, '1,000 requests')
  t.equal((await readLedger(httpUrl)).balance, 0)
  session.socket.unref()
  session.destroy()
  await until(async () => /^vital_grpc_streams 0$/m.test(await (await fetch(`${httpUrl}/metrics`)).text()), 'the end of the stream')
  t.match(await readLedger(httpUrl), { received: 1000, pending: 1000, balance: 0 })
  await release()
  await until(async () => (await readLedger(httpUrl)).stored === 1000, 'COMMIT')
  t.match(await client.send([{ device: 'dying', timestamp: 1750240001 }]), { outcome: 'DUPLICATE' })
  t.same(await query('select count(*)::int as readings from readings'), [{ readings: 1000 }])
})

t.test('a reading that cannot be stored in time is answered UNAVAILABLE, and the stream goes on', async (t) => {
  const { client, hold, httpUrl } = await startHeld(t, { VITAL_ACK_TIMEOUT_MS: '300' })
  const release = await hold()
  const { write, answerTo } = client.open()
  const reading = { device: 'a', timestamp: 1 }
  write({ number: 1, readings: [reading] })
  t.match(await answerTo(1), { outcome: 'UNAVAILABLE', code: 'VITAL_UNAVAILABLE' })
  t.match(await client.send([{ device: 'b', timestamp: 1 }]), { outcome: 'UNAVAILABLE' })
  await release()
  write({ number: 2, readings: [reading] })
  t.match((await answerTo(2)).outcome, /^(?:STORED|DUPLICATE)$/)
  await until(async () => (await readLedger(httpUrl)).pending === 0, 'the rest')
  t.equal((await readLedger(httpUrl)).balance, 0)
})

t.test('a deadline ends a waiting call, and its reading counts as any other', async (t) => {
  const { client, hold, httpUrl, query } = await startHeld(t)
  const release = await hold()
  await t.rejects(client.send([{ device: 'a', timestamp: 1 }], 0, { deadline: Date.now() + 300 }), { code: status.DEADLINE_EXCEEDED })
  const { write, ended } = client.open({ deadline: Date.now() + 300 })
  write({ number: 1, readings: [{ device: 'a', timestamp: 2 }] })
  t.equal((await ended()).code, status.DEADLINE_EXCEEDED)
  await release()
  await until(async () => (await readLedger(httpUrl)).stored === 2, 'COMMIT')
  t.equal((await readLedger(httpUrl)).balance, 0)
  t.equal((await query('select from readings')).length, 2)
})

t.test('a stream that is over its rate is read slowly, and nothing of it is lost', async (t) => {
  const { client, httpUrl } = await startHeld(t, { VITAL_DEVICE_MESSAGES_PER_SECOND_MAX: '50' })
  const { write, answers } = client.open()
  for (let number = 1; number <= 250; number++) write({ number, readings: [{ device: 'a', timestamp: number }] })
  await until(() => answers.length >= 100, 'the burst of two seconds')
  t.ok(answers.length < 250, `${answers.length} of 250`)
  await until(() => answers.length === 250, 'the rest')
  t.match(await readLedger(httpUrl), { received: 250, stored: 250, balance: 0 })
})

t.test('calls beyond the rate of a principal are refused', async (t) => {
  const { client, httpUrl } = await startHeld(t, { VITAL_HTTP_REQUESTS_PER_SECOND_MAX: '2' })
  const codes = new Set<unknown>()
  for (let count = 0; count < 10; count++) {
    const answer = client.send([{ device: 'a', timestamp: count }])
    await answer.then(() => codes.add('answered'), ({ code }: { code: number }) => codes.add(code))
  }
  t.strictSame([...codes], ['answered', status.RESOURCE_EXHAUSTED])
  await sleep(600)
  t.match(await (await fetch(`${httpUrl}/metrics`)).text(), /^vital_grpc_calls_limited_total [1-9]/m)
})

t.test('compressed messages are refused, and identity is named', async (t) => {
  const { grpcPort } = await startHeld(t)
  const client = openGrpcClient(t, grpcPort!, { options: { 'grpc.default_compression_algorithm': compressionAlgorithms.gzip } })
  const { ended, write } = client.open()
  write({ number: 1, readings: [{ device: 'a', timestamp: 1 }] })
  const { code, metadata } = await ended()
  t.equal(code, status.UNIMPLEMENTED)
  t.strictSame(metadata.get('grpc-accept-encoding'), ['identity'])
})

t.test('50 streams push requests of 250 KB while PostgreSQL is held: memory is bounded', { timeout: 300_000 }, async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const gateway = await spawnGateway(t, { DATABASE_URL: connectionString, VITAL_GRPC_PORT: '0', VITAL_COMMIT_TIMEOUT_MS: '60000' })
  await gateway.said(/^ready$/)
  const { port = 0 } = gateway.lines.find(({ protocol }) => protocol === 'grpc')!
  const release = await hold(t, connectionString)
  const blob = 'x'.repeat(250_000)
  let number = 0
  const pushed = new AbortController()
  const answered = new Map<string, string>()
  const pushing = Array.from({ length: 50 }, async (_, index) => {
    const { stream } = openGrpcClient(t, port).open()
    stream.on('data', ({ answers }: { answers: Array<{ number: string, outcome: string }> }) => {
      for (const answer of answers) answered.set(answer.number, answer.outcome)
    })
    while (!pushed.signal.aborted) {
      const other = Buffer.from(JSON.stringify({ blob, number: ++number }))
      // As fast as HTTP/2 allows.
      stream.write({ number, readings: [{ device: `d${index}`, timestamp: 1750240000 + number, other }] })
      do await sleep(5)
      while (stream.writableNeedDrain && !pushed.signal.aborted)
    }
  })
  await sleep(HOLD_MS)
  const memory = /^VmHWM:\s+(\d+) kB/m.exec(await readFile(`/proc/${gateway.child.pid}/status`, 'utf8'))?.[1]
  t.comment(`${number} requests, ${answered.size} answers, ${Math.round(Number(memory) / 1024)} MiB`)
  t.ok(Number(memory) < 500 * 1024, `${memory} kB`)
  pushed.abort()
  await Promise.all(pushing)
  await release()
  await until(() => [...answered.values()].includes('STORED'), 'answers after the hold')
  const { port: http = 0 } = gateway.lines.find(({ protocol }) => protocol === 'http')!
  await until(async () => (await readLedger(`http://127.0.0.1:${http}`)).pending === 0, 'everything to be stored, from the spool too',
    120_000)
  gateway.child.kill('SIGTERM')
  t.same(await gateway.exited, [0, null])
  const stored = new Set((await query('select vitals->>\'number\' as number from readings')).map(({ number }) => number))
  t.strictSame([...answered].filter(([given, outcome]) => outcome === 'STORED' && !stored.has(given)), [])
})

t.test('a PublishResponse holds the answers of a batch', async (t) => {
  const { grpcPort, hold } = await startHeld(t)
  const release = await hold()
  const { stream } = openRaw(t, grpcPort!, 65_535)
  const messages: Buffer[] = []
  stream.on('data', (chunk: Buffer) => { messages.push(chunk) })
  for (let number = 1; number <= 100; number++) stream.write(frame(number, 'a'))
  await sleep(300)
  await release()
  const answersIn = () => {
    let count = 0
    let frames = 0
    for (let bytes = Buffer.concat(messages); bytes.length >= 5;) {
      const end = 5 + bytes.readUInt32BE(1)
      const reader = new MessageReader(bytes.subarray(5, end))
      for (frames++; !reader.isAtEnd; count++) reader.skip(reader.readUint32() & 7)
      bytes = bytes.subarray(end)
    }
    return { count, frames }
  }
  await until(() => answersIn().count === 100, 'all answers')
  t.ok(answersIn().frames < 20, `${answersIn().frames} messages`)
})
