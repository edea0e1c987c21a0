import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import t from 'tap'
import type { PostOutcome } from '../../src/ingest/post-outcome.ts'
import { HTTP_LIMITS } from '../../src/http/limits.ts'
import { expectError, post, startHttpServer } from '../helpers/http-server.ts'
import { until } from '../helpers/until.ts'

const READING = '{"device":"band-1","timestamp":1735689600}'

t.test('202 is sent once ingest reports the readings durable, and not before', async (t) => {
  const taken: Array<{ payload: Buffer, settle: (outcome: PostOutcome) => void }> = []
  const { url } = await startHttpServer(t, { ingest: (payload, settle) => { taken.push({ payload, settle }) } })
  let answered = false
  const answer = post(url, READING).then((response) => {
    answered = true
    return response
  })
  await until(() => taken.length > 0)
  t.equal(taken[0]?.payload.toString(), READING, 'ingest gets the body as it came')
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.equal(answered, false, 'held until it is durable')
  taken[0]?.settle({ status: 'durable' })
  const response = await answer
  t.equal(response.status, 202)
  t.strictSame(await response.json(), { status: 'accepted' })
  t.match(response.headers.get('content-type'), /^application\/json/)
  t.equal(response.headers.get('x-powered-by'), null)
})

t.test('the body reaches ingest as its bytes, unparsed', async (t) => {
  let payload: Buffer | undefined
  const { url } = await startHttpServer(t, {
    ingest: (body, settle) => {
      payload = body
      settle({ status: 'durable' })
    }
  })
  const bytes = Buffer.from([0x7b, 0xff, 0x00, 0xef, 0xbb, 0xbf, 0x7d])
  t.equal((await post(url, bytes)).status, 202)
  t.ok(payload?.equals(bytes))
  t.equal((await post(url, '{"__proto__":1}')).status, 202, 'dangerous names are left to ingest')
})

t.test('content types', async (t) => {
  const { url } = await startHttpServer(t)
  for (const type of ['application/json', 'application/json; charset=utf-8', 'Application/JSON;charset=UTF-8']) {
    t.equal((await post(url, READING, { 'content-type': type })).status, 202, type)
  }
  for (const type of ['text/plain', 'application/jsonp', 'application/x-www-form-urlencoded', 'application/json-seq', 'json']) {
    await expectError(t, await post(url, READING, { 'content-type': type }), 415, 'VITAL_UNSUPPORTED_MEDIA_TYPE')
  }
  const untyped = await fetch(`${url}/vital-data`, { method: 'POST', body: Buffer.from(READING) })
  await expectError(t, untyped, 415, 'VITAL_UNSUPPORTED_MEDIA_TYPE')
  await expectError(t, await fetch(`${url}/vital-data`, { method: 'POST' }), 415, 'VITAL_UNSUPPORTED_MEDIA_TYPE')
})

t.test('an empty body is 400', async (t) => {
  const { url } = await startHttpServer(t, { ingest: () => { t.fail('ingest gets no empty body') } })
  await expectError(t, await post(url, ''), 400, 'VITAL_EMPTY_BODY')
})

t.test('a body at the limit is taken, one byte more is 413', async (t) => {
  const { url, port } = await startHttpServer(t, { bodyBytesMax: 100 })
  t.equal((await post(url, 'x'.repeat(100))).status, 202)
  await expectError(t, await post(url, 'x'.repeat(101)), 413, 'VITAL_BODY_TOO_LARGE')

  t.test('a client that is still sending a body over the limit reads the 413', async (t) => {
    await expectError(t, await post(url, 'x'.repeat(8_000_000)), 413, 'VITAL_BODY_TOO_LARGE')

    // A client that reads only after it has written, as small devices do.
    const socket = connect(port, '127.0.0.1').setEncoding('utf8').on('error', () => {})
    t.teardown(() => { socket.destroy() })
    socket.write('POST /vital-data HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 8000000\r\n\r\n')
    await new Promise((resolve) => { socket.write('x'.repeat(8_000_000), resolve) })
    const [answer] = await Promise.race([once(socket, 'data'), once(socket, 'close')]) as [unknown]
    t.match(answer, /^HTTP\/1\.1 413 /)
  })

  t.test('a body without a Content-Length is held to the same limit', async (t) => {
    const status = await new Promise((resolve, reject) => {
      const request = httpRequest({
        port, host: '127.0.0.1', method: 'POST', path: '/vital-data', headers: { 'content-type': 'application/json' }
      })
      request.on('response', (response) => { resolve(response.resume().statusCode) }).on('error', reject)
      for (let i = 0; i < 20; i++) request.write('x'.repeat(10))
      request.end()
    })
    t.equal(status, 413)
  })
})

t.test('a refused body is 400 with all faults', async (t) => {
  const errors = Array.from({ length: 30 }, (_, i) => ({ path: `/${i}/heartRateValue`, message: 'must be a finite number' }))
  const codes = {
    invalid_json: 'VITAL_INVALID_JSON',
    invalid_reading: 'VITAL_INVALID_READING',
    database_rejected: 'VITAL_DATABASE_REJECTED'
  } as const
  for (const reason of ['invalid_json', 'invalid_reading', 'database_rejected'] as const) {
    const { url, logs } = await startHttpServer(t, { ingest: (_payload, settle) => { settle({ status: 'invalid', reason, errors }) } })
    const { details } = await expectError(t, await post(url, READING), 400, codes[reason])
    t.strictSame(details, errors)
    t.equal(logs.filter((line) => (line['level'] as number) > 30).length, 0, 'a fault of the client is not logged')
  }
})

t.test('overloaded is 429, unavailable 503, both with Retry-After', async (t) => {
  for (const [status, httpStatus, code] of [['overloaded', 429, 'VITAL_OVERLOADED'], ['unavailable', 503, 'VITAL_UNAVAILABLE']] as const) {
    const { url } = await startHttpServer(t, { ingest: (_payload, settle) => { settle({ status }) } })
    const response = await post(url, READING)
    await expectError(t, response, httpStatus, code)
    t.match(response.headers.get('retry-after'), /^[1-9]\d*$/)
  }
})

t.test('a bug in ingest is 500 without details, and is logged once', async (t) => {
  const { url, logs } = await startHttpServer(t, { ingest: () => { throw new Error('secret of the inside') } })
  const body = await expectError(t, await post(url, '{"payload":"private"}'), 500, 'VITAL_INTERNAL')
  t.notMatch(JSON.stringify(body), /secret|stack|\.ts/)
  t.equal(logs.filter((line) => (line['level'] as number) >= 50).length, 1)
  t.notMatch(JSON.stringify(logs), /private/, 'no payload in the log')
})

t.test('a client that leaves before its answer does not affect other requests', async (t) => {
  const settles: Array<(outcome: PostOutcome) => void> = []
  const { url, port, logs } = await startHttpServer(t, { ingest: (_payload, settle) => { settles.push(settle) } })
  const socket = connect(port, '127.0.0.1')
  socket.write('POST /vital-data HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ' +
    `${READING.length}\r\n\r\n${READING}`)
  await until(() => settles.length === 1)
  socket.destroy()
  await new Promise((resolve) => setTimeout(resolve, 50))
  settles[0]?.({ status: 'durable' })
  const next = post(url, READING)
  await until(() => settles.length === 2)
  settles[1]?.({ status: 'durable' })
  t.equal((await next).status, 202)
  t.equal(logs.filter((line) => (line['level'] as number) > 30).length, 0)
})

t.test('other methods are 405, whatever their body', async (t) => {
  const { url } = await startHttpServer(t)
  for (const method of ['PUT', 'DELETE', 'PATCH']) {
    const response = await fetch(`${url}/vital-data`, { method })
    t.equal(response.headers.get('allow'), 'GET, HEAD, POST, OPTIONS')
    await expectError(t, response, 405, 'VITAL_METHOD_NOT_ALLOWED')
  }
  const put = await fetch(`${url}/vital-data`, { method: 'PUT', body: 'x', headers: { 'content-type': 'text/plain' } })
  await expectError(t, put, 405, 'VITAL_METHOD_NOT_ALLOWED')
  const toDevice = await fetch(`${url}/vital-data/band-1`, { method: 'POST', body: READING })
  await expectError(t, toDevice, 405, 'VITAL_METHOD_NOT_ALLOWED')
})

t.test('a connection is closed beyond its bound of pipelined requests', async (t) => {
  const settles: Array<(outcome: PostOutcome) => void> = []
  const { port } = await startHttpServer(t, { ingest: (_payload, settle) => { settles.push(settle) } })
  const request = 'POST /vital-data HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}'
  const socket = connect(port, '127.0.0.1').setEncoding('utf8')
  t.teardown(() => { socket.destroy() })
  let answer = ''
  let closed = false
  socket.on('data', (chunk: string) => { answer += chunk }).on('close', () => { closed = true }).on('error', () => {})
  const answered = () => answer.match(/HTTP\/1\.1 202/g)?.length ?? 0
  const { pipelinedRequestsMax } = HTTP_LIMITS
  for (const times of [1, 2]) {
    socket.write(request.repeat(pipelinedRequestsMax))
    await until(() => settles.length === times * pipelinedRequestsMax)
    for (const settle of settles.slice(-pipelinedRequestsMax)) settle({ status: 'durable' })
    await until(() => answered() === times * pipelinedRequestsMax)
  }
  socket.write(request.repeat(pipelinedRequestsMax))
  await until(() => settles.length === 3 * pipelinedRequestsMax)
  settles[2 * pipelinedRequestsMax]!({ status: 'durable' })
  await until(() => answered() === 2 * pipelinedRequestsMax + 1)
  socket.write(request)
  await until(() => settles.length === 3 * pipelinedRequestsMax + 1)
  t.equal(closed, false, 'answered requests no longer count')
  socket.write(request)
  await until(() => closed)
  t.equal(answered(), 2 * pipelinedRequestsMax + 1)
})
