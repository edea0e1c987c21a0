import { STATUS_CODES } from 'node:http'
import { connect } from 'node:net'
import { once } from 'node:events'
import t from 'tap'
import { REASONS } from '../../schemas/reason.ts'
import type { PostOutcome } from '../../src/ingest/post-outcome.ts'
import { ERROR_OF_REASON, HTTP_ERRORS } from '../../src/http/errors.ts'
import { expectError, sendRaw, startHttpServer } from '../helpers/http-server.ts'
import { until } from '../helpers/until.ts'

t.test('every error has a status that Node names, a code of its own and a message', async (t) => {
  const errors = Object.values(HTTP_ERRORS).map((HttpError) => new HttpError())
  t.equal(new Set(errors.map((error) => error.code)).size, errors.length)
  for (const error of errors) {
    t.ok(STATUS_CODES[error.statusCode], error.code)
    t.ok(error.message)
  }
  for (const reason of REASONS) t.equal(new ERROR_OF_REASON[reason]().statusCode, 400)
})

t.test('unknown URLs are 404', async (t) => {
  const { url } = await startHttpServer(t)
  for (const path of [
    '/', '/vital-datax', '/vital-data/a/b', '/Vital-Data', '/health', '/docs/nothing', '/docs/static/nothing.js',
    '/docs/static/../../../package.json'
  ]) {
    await expectError(t, await fetch(url + path), 404, 'VITAL_ROUTE_NOT_FOUND')
  }
  const posted = await fetch(`${url}/nowhere`, { method: 'POST', body: 'x', headers: { 'content-type': 'text/plain' } })
  await expectError(t, posted, 404, 'VITAL_ROUTE_NOT_FOUND')
})

t.test('bytes that are not HTTP get an answer of the same shape', async (t) => {
  const { port, logs } = await startHttpServer(t)
  const json = 'content-type: application/json\r\n'
  const cases: ReadonlyArray<readonly [name: string, bytes: string, status: number, code: string]> = [
    ['garbage', 'private garbage\r\n\r\n', 400, 'VITAL_BAD_REQUEST'],
    ['TLS to a plain port', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400, 'VITAL_BAD_REQUEST'],
    ['MQTT to the wrong port', '\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00', 400, 'VITAL_BAD_REQUEST'],
    ['headers too large', `GET / HTTP/1.1\r\nhost: x\r\na: ${'x'.repeat(20_000)}\r\n\r\n`, 431, 'VITAL_HEADERS_TOO_LARGE'],
    ['a URL too large', `GET /${'x'.repeat(20_000)} HTTP/1.1\r\nhost: x\r\n\r\n`, 431, 'VITAL_HEADERS_TOO_LARGE'],
    ['no host', 'GET /metrics HTTP/1.1\r\n\r\n', 400, 'VITAL_BAD_REQUEST'],
    [
      'two lengths', `POST /vital-data HTTP/1.1\r\nhost: x\r\n${json}content-length: 5\r\ncontent-length: 6\r\n\r\nhello`, 400,
      'VITAL_BAD_REQUEST'
    ],
    [
      'smuggling', `POST /vital-data HTTP/1.1\r\nhost: x\r\n${json}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`, 400,
      'VITAL_BAD_REQUEST'
    ],
    ['a bad chunk', `POST /vital-data HTTP/1.1\r\nhost: x\r\n${json}transfer-encoding: chunked\r\n\r\nzz\r\n`, 400, 'VITAL_BAD_REQUEST'],
    ['a bad escape', 'GET /vital-data/%zz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n', 400, 'VITAL_BAD_REQUEST'],
    ['an unusual method', 'PROPFIND /vital-data HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n', 404, 'VITAL_ROUTE_NOT_FOUND'],
    [
      'an upgrade that is not offered', 'GET /nothing HTTP/1.1\r\nhost: x\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\r\n', 404,
      'VITAL_ROUTE_NOT_FOUND'
    ]
  ]
  for (const [name, bytes, status, code] of cases) {
    const answer = await sendRaw(t, port, bytes)
    const [head = '', body = ''] = answer.split('\r\n\r\n')
    t.match(head, new RegExp(`^HTTP/1\\.1 ${status} ${STATUS_CODES[status]}\r\n`), name)
    t.match(head, /^content-type: application\/json/mi, name)
    t.match(JSON.parse(body), { statusCode: status, code, error: STATUS_CODES[status], message: String }, name)
  }
  t.notMatch(JSON.stringify(logs), /private|rawPacket/, 'no payload in the log')
  t.equal(logs.filter((line) => (line['level'] as number) > 30).length, 0)
})

t.test('an expectation that is unknown is ignored', async (t) => {
  const { port } = await startHttpServer(t)
  const answer = await sendRaw(t, port, 'GET /metrics HTTP/1.1\r\nhost: x\r\nexpect: miracles\r\nconnection: close\r\n\r\n')
  t.match(answer, /^HTTP\/1\.1 200 OK/)
})

t.test('garbage behind a request that still waits gets no answer of its own', async (t) => {
  const settles: Array<(outcome: PostOutcome) => void> = []
  const { port } = await startHttpServer(t, { ingest: (_payload, settle) => { settles.push(settle) } })
  const socket = connect(port, '127.0.0.1').setEncoding('utf8').on('error', () => {})
  let answer = ''
  socket.on('data', (chunk: string) => { answer += chunk })
  socket.write('POST /vital-data HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}')
  await until(() => settles.length === 1)
  socket.write('garbage\r\n\r\n')
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.equal(answer, '')
  settles[0]?.({ status: 'durable' })
  await once(socket, 'close')
  t.match(answer, /^HTTP\/1\.1 202 Accepted\r\n[^]*\r\n\r\n\{"status":"accepted"\}$/)
})

t.test('a request that does not arrive in time is 408', async (t) => {
  const { app, port } = await startHttpServer(t)
  // Node checks this time-out only every 10 s or more, so the test raises the same error itself.
  app.server.on('connection', (socket) => {
    socket.once('data', () => {
      app.server.emit('clientError', Object.assign(new Error('Request timeout'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' }), socket)
    })
  })
  const answer = await sendRaw(t, port, 'GET /metrics HTTP/1.1\r\nhost: ')
  t.match(answer, /^HTTP\/1\.1 408 Request Timeout\r\n/)
  t.match(answer, '"code":"VITAL_REQUEST_TIMEOUT"')
})
