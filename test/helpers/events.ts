import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { pino } from 'pino'
import type { Test } from 'tap'
import type { ReadingRow } from '../../db/rows.ts'
import { createEvents } from '../../src/events/events.ts'
import type { EventsLimits } from '../../src/events/limits.ts'
import type { HttpServerOptions } from '../../src/http/server.ts'
import { createMetrics } from '../../src/metrics/metrics.ts'
import { startHttpServer } from './http-server.ts'
import { until } from './until.ts'

export interface SentEvent {
  readonly type: string
  readonly id: string
  readonly data: Record<string, unknown>
}

export interface EventStream {
  readonly request: ClientRequest
  readonly response: IncomingMessage
  /** Everything that came, as it came. */
  text (): string
  /** Without comments, and without blocks that have no data. */
  events (): SentEvent[]
  /** The events of one type. */
  of (type: string): SentEvent[]
  /** Waits for at least `count` events. */
  atLeast (count: number): Promise<SentEvent[]>
  readonly hasEnded: boolean
  /** The id with which a browser would come back. */
  lastEventId (): string
}

/** Opens `GET /events` without a library. @param path - appended to the URL of the server */
export async function openEvents (
  t: Test, url: string, path = '/events', headers: Record<string, string> = {}
): Promise<EventStream> {
  const opened = request(url + path, { headers, agent: false })
  t.teardown(() => { opened.destroy() })
  opened.on('error', () => {})
  opened.end()
  const [response] = await once(opened, 'response') as [IncomingMessage]
  let text = ''
  let hasEnded = false
  response.setEncoding('utf8').on('data', (chunk: string) => { text += chunk }).on('error', () => {})
  response.on('close', () => { hasEnded = true })
  const events = () => parseEvents(text)
  return {
    request: opened,
    response,
    text: () => text,
    events,
    of: (type) => events().filter((event) => event.type === type),
    async atLeast (count) {
      await until(() => events().length >= count, () => `${count} events; there are ${events().length}`)
      return events()
    },
    get hasEnded () { return hasEnded },
    lastEventId: () => /^id: (.*)$/m.exec(text.slice(text.lastIndexOf('\nid: ') + 1))?.[1] ?? ''
  }
}

/** Parses server-sent events by the specification, as far as the gateway uses it. */
export function parseEvents (text: string): SentEvent[] {
  return text.split('\n\n').slice(0, -1).flatMap((block) => {
    const fields = new Map(block.split('\n').filter((line) => !line.startsWith(':'))
      .map((line) => [line.slice(0, line.indexOf(': ')), line.slice(line.indexOf(': ') + 2)]))
    const data = fields.get('data')
    if (data === undefined) return []
    return [{ type: fields.get('event') ?? '', id: fields.get('id') ?? '', data: JSON.parse(data) as SentEvent['data'] }]
  })
}

/** A stored reading. */
export function toRow (device: string, seconds: number, vitals = '{"heartRateValue":61.5}'): ReadingRow {
  const fields = JSON.parse(vitals) as ReadingRow['fields']
  return { device, timeUs: seconds * 1e6, hash: '', vitals, fields, receivedAtMs: 0 }
}

/** An HTTP server with events that the test makes. */
export async function startEvents (
  t: Test, limits: Partial<EventsLimits> = {}, overrides: Partial<HttpServerOptions> = {}
) {
  const metrics = createMetrics()
  const events = createEvents({ limits, metrics, logger: pino({ level: 'silent' }) })
  const server = await startHttpServer(t, { events, ...overrides })
  // Open streams would delay the teardown of the server.
  t.teardown(() => { events.stop() })
  return {
    ...server,
    events,
    /** Tells the events that a reading of each device was stored. @param seconds - Unix time of the readings */
    store (devices: readonly string[], seconds = 1): void {
      events.observe(devices.map((device) => toRow(device, seconds)))
    },
    /** The sum of a metric's series. */
    async metric (name: string): Promise<number> {
      const text = await metrics.render()
      return [...text.matchAll(new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, 'gm'))]
        .reduce((sum, [, value]) => sum + Number(value), 0)
    }
  }
}
