import { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { FirstByteWait } from '../../../broker/connect/first-byte.ts'
import type { Origin } from '../../../broker/listen/origin.ts'
import { durable, publishPacket, RawClient, startBroker } from '../../helpers/broker.ts'
import { until } from '../../helpers/until.ts'

const ORIGIN: Origin = { transport: 'tcp', remoteAddress: '192.0.2.1', certificateNames: [] }
const createStream = () => new Duplex({ read () {}, write (_chunk, _encoding, done) { done() } })

function start (t: Test, timeoutMs = 10_000) {
  const served: Array<{ stream: Duplex, origin: Origin, bytes: number }> = []
  let timeouts = 0
  const firstBytes = new FirstByteWait({
    timeoutMs,
    serve: (stream, origin) => { served.push({ stream, origin, bytes: stream.readableLength }) },
    onTimeout: () => { timeouts++ }
  })
  t.teardown(() => { firstBytes.stop() })
  return { firstBytes, served, timeouts: () => timeouts }
}

t.test('a connection is served with its first byte, unread and as it was', async (t) => {
  const { firstBytes, served } = start(t)
  const stream = createStream()
  const before = stream.eventNames()
  firstBytes.receive(stream, ORIGIN)
  await sleep(20)
  t.equal(served.length, 0)
  stream.push('a')
  await until(() => served.length === 1, 'the first byte')
  t.strictSame(served, [{ stream, origin: ORIGIN, bytes: 1 }])
  t.strictSame(stream.eventNames(), before, 'no listener is left')
  stream.push('b')
  await sleep(5)
  t.equal(served.length, 1)
  firstBytes.stop()
  t.notOk(stream.destroyed, 'it was handed over')
})

t.test('bytes behind a PROXY header are first bytes', async (t) => {
  const { firstBytes, served } = start(t)
  const stream = createStream()
  stream.unshift(Buffer.from('a'))
  firstBytes.receive(stream, ORIGIN)
  await until(() => served.length === 1, 'the bytes behind the header')
})

t.test('a silent connection is closed: at its end, by an error, by the time-out, by a stop', async (t) => {
  const { firstBytes, served, timeouts } = start(t, 50)
  const [ended, broken, silent, stopped] = [createStream(), createStream(), createStream(), createStream()] as const
  for (const stream of [ended, broken, silent]) firstBytes.receive(stream, ORIGIN)
  ended.push(null)
  broken.destroy(new Error('ECONNRESET'))
  await until(() => ended.destroyed && broken.destroyed, 'both')
  t.notOk(silent.destroyed)
  t.equal(timeouts(), 0)
  await until(() => silent.destroyed, 'the time-out')
  firstBytes.receive(stopped, ORIGIN)
  firstBytes.stop()
  t.ok(stopped.destroyed)
  await sleep(80)
  t.equal(timeouts(), 1, 'no timer of the others is left')
  t.equal(served.length, 0)
})

t.test('silent connections over TCP', async (t) => {
  const { port, broker } = await startBroker(t, { answer: durable, limits: { connectTimeoutMs: 2000 } })
  const silent = await RawClient.open(t, port)
  const checker = await RawClient.open(t, port)
  checker.socket.end()
  await checker.closed()
  const device = await RawClient.connected(t, port)
  device.send(publishPacket(1))
  await device.waitFor('puback')
  t.match(broker.statistics(), { connections: 2, clientsConnected: 1 })
  t.notOk(silent.isClosed)
  await silent.closed()
  t.equal(broker.statistics().limitHits.get('connect_time'), 1)
})

t.test('a stop closes silent connections over TCP', async (t) => {
  const { port, broker } = await startBroker(t, { answer: durable, limits: { connectTimeoutMs: 60_000 } })
  const silent = await RawClient.open(t, port)
  await until(() => broker.statistics().connections === 1, 'the connection')
  await broker.stop()
  await until(() => silent.isClosed, 'its end')
})
