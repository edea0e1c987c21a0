import { once } from 'node:events'
import { request } from 'node:http'
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import type { PostOutcome } from '../../src/ingest/post-outcome.ts'
import { exactly } from '../helpers/exactly.ts'
import { expectError, post, sendRaw, startHttpServer } from '../helpers/http-server.ts'
import { until } from '../helpers/until.ts'

const HEAD = 'POST /vital-data HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n'

t.test('bytes beyond a whole request: its answer is sent, then the connection is closed', async (t) => {
  const settles: Array<(outcome: PostOutcome) => void> = []
  const { port } = await startHttpServer(t, { ingest: (_payload, settle) => { settles.push(settle) } })
  const cases: ReadonlyArray<readonly [name: string, bytes: string, owed: number]> = [
    ['a trailing NUL', `${HEAD}content-length: 2\r\n\r\n{}\0`, 1],
    ['a length in characters', `${HEAD}content-length: 2\r\n\r\n{}}`, 1],
    ['garbage', `${HEAD}content-length: 2\r\n\r\n{}garbage\r\n\r\n`, 1],
    ['behind chunks', `${HEAD}transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n\0\0`, 1],
    ['behind two requests', `${HEAD}content-length: 2\r\n\r\n{}${HEAD}content-length: 2\r\n\r\n{}\0`, 2],
    ['a second request with a bad chunk', `${HEAD}content-length: 2\r\n\r\n{}${HEAD}transfer-encoding: chunked\r\n\r\nzz\r\n`, 1]
  ]
  for (const [name, bytes, owed] of cases) {
    settles.length = 0
    const answered = sendRaw(t, port, bytes)
    await until(() => settles.length === owed)
    for (const settle of settles) settle({ status: 'durable' })
    const answer = await answered
    t.equal(answer.match(/HTTP\/1\.1 202 Accepted/g)?.length, owed, name)
    t.equal(answer.match(/HTTP\/1\.1 /g)?.length, owed, `${name}: and no further answer`)
    t.match(answer, /connection: close/i, name)
  }
})

t.test('a client that half-closes behind its request gets its answer', async (t) => {
  const settles: Array<(outcome: PostOutcome) => void> = []
  const { port } = await startHttpServer(t, { ingest: (_payload, settle) => { settles.push(settle) } })
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true }).setEncoding('utf8')
  let answer = ''
  socket.on('data', (chunk: string) => { answer += chunk })
  socket.end(`${HEAD}content-length: 2\r\n\r\n{}`)
  await until(() => settles.length === 1)
  settles[0]?.({ status: 'durable' })
  await once(socket, 'end')
  t.match(answer, /^HTTP\/1\.1 202 Accepted/)
})

t.test('two Host headers are refused', async (t) => {
  const { port } = await startHttpServer(t)
  for (const version of ['1.1', '1.0']) {
    t.match(await sendRaw(t, port, `GET /health/live HTTP/${version}\r\nhost: a\r\nHost: b\r\n\r\n`), /^HTTP\/1\.1 400 /)
  }
  t.match(await sendRaw(t, port, 'GET /health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n'), /^HTTP\/1\.1 200 /)
  t.match(await sendRaw(t, port, 'GET /health/live HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 200 /)
})

t.test('a compressed body is 415, with the accepted encodings', async (t) => {
  const { url } = await startHttpServer(t)
  for (const encoding of ['gzip', 'br', 'GZIP, identity']) {
    const response = await post(url, gzipSync('{"device":"a","timestamp":1}'), { 'content-encoding': encoding })
    t.equal(response.headers.get('accept-encoding'), 'identity')
    await expectError(t, response, 415, 'VITAL_UNSUPPORTED_CONTENT_ENCODING')
  }
  t.equal((await post(url, '{"device":"a","timestamp":1}', { 'content-encoding': 'identity' })).status, 202)
})

t.test('OPTIONS lists the methods, and a preflight of a listed origin is allowed them', async (t) => {
  const origins = ['https://ward.example.org']
  const refused = () => ({ status: 'refused' as const, reason: 'no_credentials' as const })
  const { url } = await startHttpServer(t, { origins, authenticate: refused })
  const ask = (origin: string) => fetch(`${url}/vital-data`, {
    method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' }
  })
  const allowed = await ask(origins[0]!)
  t.equal(allowed.status, 204)
  t.equal(allowed.headers.get('allow'), 'GET, HEAD, POST, OPTIONS')
  t.equal(allowed.headers.get('access-control-allow-origin'), origins[0]!)
  t.equal(allowed.headers.get('access-control-allow-methods'), 'GET, HEAD, POST, OPTIONS')
  t.match(allowed.headers.get('access-control-allow-headers'), /Authorization/)
  t.equal(allowed.headers.get('access-control-allow-credentials'), null)
  t.equal(allowed.headers.get('vary'), 'Origin')
  const other = await ask('https://ward.example.org.evil.example')
  t.equal(other.status, 204)
  t.equal(other.headers.get('access-control-allow-origin'), null)
  t.equal(other.headers.get('access-control-allow-methods'), null)
  t.equal(other.headers.get('vary'), 'Origin')
  const error = await fetch(`${url}/vital-data`, { headers: { origin: origins[0]! } })
  t.equal(error.headers.get('access-control-allow-origin'), origins[0]!, 'the page may read the refusal')
  await expectError(t, error, 401, 'VITAL_UNAUTHENTICATED')
})

t.test('without a list of origins no CORS header is sent', async (t) => {
  const { url } = await startHttpServer(t)
  const response = await fetch(`${url}/vital-data`, { headers: { origin: 'https://ward.example.org' } })
  t.equal(response.headers.get('access-control-allow-origin'), null)
  t.equal(response.headers.get('vary'), null)
})

t.test('a URL with one slash too many is 404 with a hint', async (t) => {
  const { url } = await startHttpServer(t)
  for (const [path, method] of [
    ['/vital-data/', 'POST'], ['/vital-data/', 'GET'], ['/vital-data/', 'DELETE'], ['/dead-letters/', 'GET']
  ] as const) {
    const response = await fetch(url + path, { method })
    t.equal(response.headers.get('allow'), null, `${method} ${path}`)
    const { details } = await expectError(t, response, 404, 'VITAL_ROUTE_NOT_FOUND')
    t.match(details, exactly({ message: /without a slash/ }))
  }
})

t.test('unknown names are refused where one device is asked for', async (t) => {
  const { url } = await startHttpServer(t)
  for (const method of ['GET', 'DELETE']) {
    const { details } = await expectError(t, await fetch(`${url}/vital-data/band-1?from=1`, { method }), 400, 'VITAL_INVALID_QUERY')
    t.strictSame(details, [{ path: '/from', message: 'is not a known name' }])
  }
})

t.test('. and .. are invalid ids, and rows stored under them can be erased', async (t) => {
  const erased: string[] = []
  const { url, port } = await startHttpServer(t, {
    erase: (device) => {
      erased.push(device)
      return Promise.resolve({
        readings: 1, latest: 1, deadLetters: 0, retained: 0, queued: 0, damagedSpoolFiles: 0, gateways: [], remains: []
      })
    }
  })
  for (const id of ['.', '..']) {
    const ask = (method: string) => new Promise<number>((resolve, reject) => {
      // fetch would resolve the dots.
      request({ host: '127.0.0.1', port, method, path: `/vital-data/${id}` }, (response) => {
        response.resume()
        resolve(response.statusCode ?? 0)
      }).on('error', reject).end()
    })
    t.equal(await ask('GET'), 400)
    t.equal(await ask('DELETE'), 200)
  }
  t.strictSame(erased, ['.', '..'])
  t.equal((await fetch(`${url}/vital-data/...`)).status, 404, 'three dots are an id')
})

t.test('only /docs asks a browser for a credential', async (t) => {
  const { url } = await startHttpServer(t, {
    authenticate: ({ authorization }) => authorization === 'Bearer s3cret:with:colons'
      ? { status: 'accepted', principal: { id: 'o', role: 'operator', topics: null } as never }
      : { status: 'refused', reason: 'wrong_secret' }
  })
  const basic = { authorization: `Basic ${Buffer.from('anybody:s3cret:with:colons').toString('base64')}` }
  const asked = await fetch(`${url}/docs`)
  t.match(asked.headers.get('www-authenticate'), /^Basic realm=/)
  await expectError(t, asked, 401, 'VITAL_UNAUTHENTICATED')
  for (const path of ['/docs', '/docs/json']) {
    const page = await fetch(url + path, { headers: basic })
    t.equal(page.status, 200, path)
    t.match(page.headers.get('content-security-policy'), /default-src 'none'/)
    await page.arrayBuffer()
  }
  const other = await fetch(`${url}/vital-data`, { headers: basic })
  t.equal(other.headers.get('www-authenticate'), 'Bearer')
  const { message } = await expectError(t, other, 401, 'VITAL_UNAUTHENTICATED')
  t.match(message, /Passwords count over MQTT alone/)
})
