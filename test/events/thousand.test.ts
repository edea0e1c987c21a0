/** A thousand listeners and ten frozen ones, with the gateway as a process of its own. */
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { connectClient } from '../helpers/gateway.ts'
import { spawnGateway } from '../helpers/gateway-process.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'

const LISTENERS = 990
const FROZEN = 10
const STOP_MS = 15_000
const MIB = 1024 * 1024

async function open (t: Test, port: number, path: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => { socket.destroy() })
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`)
  return socket
}

t.test('1,000 listeners, ten frozen: bounded memory, no other waits; SIGTERM ends with 0 in 15 s', { timeout: 120_000 }, async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const gateway = await spawnGateway(t, {
    DATABASE_URL: connectionString, VITAL_DEVICE_BYTES_PER_SECOND_MAX: '0', VITAL_DEVICE_MESSAGES_PER_SECOND_MAX: '0'
  })
  await gateway.said(/^ready$/)
  const portOf = (protocol: string) => gateway.lines.find((line) => line.protocol === protocol)!.port!
  const port = portOf('http')
  const rssBytes = async () => Number(/^VmRSS:\s+(\d+)/m.exec(await readFile(`/proc/${gateway.child.pid}/status`, 'utf8'))?.[1]) * 1024
  const metric = async (name: string) => Number(new RegExp(`^${name}(?:\\{.*\\})? (\\d+)$`, 'm')
    .exec(await (await fetch(`http://127.0.0.1:${port}/metrics`)).text())?.[1])

  const counts = new Array<number>(LISTENERS).fill(0)
  for (let at = 0; at < LISTENERS; at++) {
    const socket = await open(t, port, `/events?device=band-${at}`)
    socket.setEncoding('latin1').on('data', (chunk: string) => { counts[at]! += chunk.split('event: reading').length - 1 })
  }
  for (let at = 0; at < FROZEN; at++) (await open(t, port, at % 2 === 0 ? '/events' : '/events?prefix=b')).pause()
  await until(async () => await metric('vital_event_listeners') === LISTENERS + FROZEN, 'all to listen')
  const before = await rssBytes()

  // 40 MB of large readings fill the kernel's buffers of the frozen listeners. Each device sends a small one a round.
  const client = await connectClient(t, portOf('mqtt'))
  let slowestAckMs = 0
  for (let round = 1; round <= 10; round++) {
    const startMs = performance.now()
    const small = Array.from({ length: LISTENERS }, (_, at) =>
      client.publishAsync(`vital/band-${at}`, `{"timestamp":${round},"heartRateValue":61}`, { qos: 1 }))
    const large = Array.from({ length: 40 }, (_, at) =>
      client.publishAsync(`vital/big-${at}`, JSON.stringify({ timestamp: round, text: 'x'.repeat(100_000) }), { qos: 1 }))
    await Promise.all([...small, ...large])
    slowestAckMs = Math.max(slowestAckMs, performance.now() - startMs)
    await until(() => counts.every((count) => count >= round), `round ${round}`)
  }
  t.strictSame(new Set(counts), new Set([10]), 'each listener has each reading of its device, once')
  t.ok(await metric('vital_events_missed_total') > 0, 'and the frozen were left behind')
  t.ok(await metric('vital_event_bytes') < (8 + 8) * MIB)
  const grown = await rssBytes() - before
  t.comment(`memory grew by ${Math.round(grown / MIB)} MiB`)
  t.comment(`a round of ${LISTENERS + 40} acknowledgements took ${Math.round(slowestAckMs)} ms at most`)
  t.ok(grown < 300 * MIB, 'memory is bounded')

  await client.endAsync(true)
  const startMs = performance.now()
  gateway.child.kill('SIGTERM')
  const outcome = await Promise.race([gateway.exited, sleep(STOP_MS, 'still there', { ref: false })])
  t.same(outcome, [0, null], 'ends with 0, in time')
  t.comment(`the stop took ${Math.round(performance.now() - startMs)} ms`)
})
