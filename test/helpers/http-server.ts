import { once } from 'node:events'
import { connect } from 'node:net'
import { pino } from 'pino'
import type { Test } from 'tap'
import { createEvents } from '../../src/events/events.ts'
import { createHttpServer, type HttpServerOptions } from '../../src/http/server.ts'
import { createMetrics } from '../../src/metrics/metrics.ts'
import type { Resource } from '../../schemas/vital-data.ts'

export const RESOURCE: Resource = {
  deviceId: 'band-1',
  timestamp: 1735689600.123456,
  heartRate: 71,
  breathRate: null,
  vitals: { heartRateValue: 71, unknown: { deep: [1, null, 'x'] } },
  vitalTimestamps: { heartRateValue: 1735689600.123456, unknown: 1735689000 }
}

/** A real server on a free port of loopback, stopped at teardown. It keeps its log lines. */
export async function startHttpServer (t: Test, overrides: Partial<HttpServerOptions> = {}) {
  const logs: Array<Record<string, unknown>> = []
  const write = (line: string) => { logs.push(JSON.parse(line) as Record<string, unknown>) }
  const logger = pino({ level: 'debug' }, { write })
  const events = createEvents({ metrics: createMetrics(), logger })
  const server = createHttpServer({
    host: '127.0.0.1',
    port: 0,
    bodyBytesMax: 1024,
    ingest: (_payload, settle) => { settle({ status: 'durable' }) },
    reads: {
      listLatest: () => Promise.resolve(JSON.stringify({ total: 1, resources: [RESOURCE], next: null })),
      findLatest: (device) => Promise.resolve(device === RESOURCE.deviceId ? JSON.stringify(RESOURCE) : undefined)
    },
    deadLetters: {
      list: () => Promise.resolve({ total: 0, resources: [] }),
      find: () => Promise.resolve(undefined)
    },
    history: { findHistory: () => Promise.resolve(undefined) },
    erase: () => Promise.resolve({
      readings: 0, latest: 0, deadLetters: 0, retained: 0, queued: 0, damagedSpoolFiles: 0, gateways: [], remains: []
    }),
    health: () => ({
      live: true, ready: true, database: { status: 'up' }, spool: { status: 'ok', bytes: 0, bytesMax: 1024 }, warnings: []
    }),
    metrics: () => Promise.resolve('vital_readings_pending 0\n'),
    events,
    logger,
    version: '1.2.3',
    ...overrides
  })
  const { port } = await server.start()
  t.teardown(() => {
    events.stop()
    return server.stop()
  })
  return { ...server, port, url: `http://127.0.0.1:${port}`, logs }
}

/** POSTs a body as JSON. */
export function post (url: string, body: string | Buffer, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${url}/vital-data`, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body })
}

/** Sends bytes as they are. @returns all bytes that come back until the server closes */
export async function sendRaw (t: Test, port: number, bytes: string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => { socket.destroy() })
  let answer = ''
  socket.setEncoding('utf8').on('data', (chunk: string) => { answer += chunk })
  socket.on('error', () => {})
  socket.write(bytes)
  await once(socket, 'close')
  return answer
}

/** Asserts that an answer has the shape of an error. @returns its body */
export async function expectError (t: Test, response: Response, status: number, code: string) {
  t.equal(response.status, status, `${code} has status ${status}`)
  t.match(response.headers.get('content-type'), /^application\/json/)
  const body = await response.json() as { statusCode: number, code: string, error: string, message: string, details?: unknown }
  t.equal(body.statusCode, status)
  t.equal(body.code, code)
  t.equal(body.error, response.statusText)
  t.type(body.message, 'string')
  t.strictSame(Object.keys(body).filter((key) => key !== 'details'), ['statusCode', 'code', 'error', 'message'])
  return body
}
