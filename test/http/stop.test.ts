import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { PostOutcome } from '../../src/ingest/post-outcome.ts'
import { HTTP_LIMITS } from '../../src/http/limits.ts'
import { post, startHttpServer } from '../helpers/http-server.ts'
import { until } from '../helpers/until.ts'

t.test('it logs where it listens, and logs no requests', async (t) => {
  const { port, url, logs } = await startHttpServer(t)
  await (await post(url, '{}')).text()
  await (await fetch(`${url}/nothing`)).text()
  t.strictSame(logs.map(({ msg, protocol, address, port }) => ({ msg, protocol, address, port })),
    [{ msg: 'listening', protocol: 'http', address: '127.0.0.1', port }])
})

t.test('a port that is taken is an error', async (t) => {
  const { port } = await startHttpServer(t)
  await t.rejects(startHttpServer(t, { port }), { code: 'EADDRINUSE' })
})

t.test('stop may be called twice at once, and again', async (t) => {
  const { stop } = await startHttpServer(t)
  await Promise.all([stop(), stop()])
  await stop()
})

t.test('a stop answers requests in flight, then closes', async (t) => {
  const settles: Array<(outcome: PostOutcome) => void> = []
  const { url, port, stop } = await startHttpServer(t, { ingest: (_payload, settle) => { settles.push(settle) } })
  const answer = post(url, '{}')
  await until(() => settles.length === 1)
  let stopped = false
  const stopping = stop().then(() => { stopped = true })
  await delay(100)
  t.equal(stopped, false, 'waits for the answer still owed')
  await t.rejects(fetch(`http://127.0.0.1:${port}/metrics`), 'takes no more connections')
  settles[0]?.({ status: 'durable' })
  t.equal((await answer).status, 202)
  await stopping
})

t.test('stopListening closes open connections after their next answer', async (t) => {
  const settles: Array<(outcome: PostOutcome) => void> = []
  const { port, stopListening } = await startHttpServer(t, { ingest: (_payload, settle) => { settles.push(settle) } })
  const request = 'POST /vital-data HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}'
  const socket = connect(port, '127.0.0.1').setEncoding('utf8')
  let answer = ''
  socket.on('data', (chunk: string) => { answer += chunk })
  socket.write(request)
  await until(() => settles.length === 1)
  stopListening()
  socket.write(request)
  await until(() => settles.length === 2)
  for (const settle of settles) settle({ status: 'durable' })
  await once(socket, 'close')
  t.equal(answer.match(/HTTP\/1\.1 202/g)?.length, 2)
  t.match(answer, /connection: close/i)
})

t.test('a stop is not delayed by silent, idle or faulty connections', async (t) => {
  const { port, stop } = await startHttpServer(t)
  const sockets = ['', 'GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n', 'garbage\r\n\r\n'].map((bytes) => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true }).on('error', () => {}).resume()
    t.teardown(() => { socket.destroy() })
    if (bytes !== '') socket.write(bytes)
    return socket
  })
  await Promise.all(sockets.map((socket) => once(socket, 'connect')))
  await delay(200)
  const outcome = await Promise.race([stop().then(() => 'stopped'), delay(HTTP_LIMITS.stopTimeoutMs / 2, 'waiting', { ref: false })])
  t.equal(outcome, 'stopped')
})

t.test('a stop gives up on answers that never come', async (t) => {
  let taken = false
  const { url, stop } = await startHttpServer(t, { ingest: () => { taken = true } })
  const answer = post(url, '{}').catch(() => 'closed')
  await until(() => taken)
  await stop(300)
  t.equal(await answer, 'closed', 'unacknowledged')
})
