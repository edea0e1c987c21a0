/** The stream of GET /events: its format, filters, and how a listener catches up. */
import { connect } from 'node:net'
import t from 'tap'
import { Compile } from 'typebox/compile'
import {
  ConnectedEventSchema, DisconnectedEventSchema, MissedEventSchema, ReadingEventSchema, RejectedEventSchema
} from '../../schemas/event.ts'
import type { ConnectedClient } from '../../broker/connections.ts'
import { openEvents, startEvents, toRow } from '../helpers/events.ts'
import { exactly } from '../helpers/exactly.ts'
import { expectError } from '../helpers/http-server.ts'
import { until } from '../helpers/until.ts'

const SCHEMAS: Record<string, { Check (value: unknown): boolean }> = {
  reading: Compile(ReadingEventSchema),
  rejected: Compile(RejectedEventSchema),
  connected: Compile(ConnectedEventSchema),
  disconnected: Compile(DisconnectedEventSchema),
  missed: Compile(MissedEventSchema)
}

const origin = { transport: 'tcp', remoteAddress: '127.0.0.1', certificateNames: [] } as const
const client = (clientId: string, principal: ConnectedClient['principal']): ConnectedClient => ({ clientId, principal, origin })

t.test('the first bytes come at once, and headers forbid proxies to compress or keep anything', async (t) => {
  const { url, store } = await startEvents(t)
  const { response, text, events, atLeast } = await openEvents(t, url, '/events', { 'accept-encoding': 'gzip, br' })
  t.equal(response.statusCode, 200)
  t.match(response.headers, {
    'content-type': 'text/event-stream', 'cache-control': 'no-store, no-transform', 'x-accel-buffering': 'no'
  })
  t.equal(response.headers['content-encoding'], undefined)
  await until(() => text().endsWith('\n\n'), 'the first bytes')
  t.match(text(), /^: events follow\nretry: [1-3]\d{3}\nid: \w+-0\n\n$/)
  t.strictSame(events(), [], 'and hold no event')
  store(['band-1'])
  await atLeast(1)
})

t.test('HTTP/1.0, as proxies speak it by default, gets a plain body', async (t) => {
  const { port, store } = await startEvents(t)
  const socket = connect(port, '127.0.0.1').setEncoding('utf8')
  t.teardown(() => { socket.destroy() })
  let answer = ''
  socket.on('data', (chunk: string) => { answer += chunk })
  socket.write('GET /events HTTP/1.0\r\nhost: x\r\n\r\n')
  await until(() => answer.includes('retry:'), 'the first bytes')
  store(['band-1'])
  await until(() => answer.includes('event: reading'), 'the reading')
  t.notMatch(answer, /transfer-encoding/i)
  t.match(answer, /\r\n\r\n: events follow\n/)
})

t.test('every kind of event fits its schema', async (t) => {
  const { url, events } = await startEvents(t)
  const all = await openEvents(t, url)
  events.observe([toRow('bänd "1"', 1750240830.123456, '{"big":12345678901234567890,"heartRateValue":61.5,"text":"a\\nb"}')])
  events.rejected('band-1', { reason: 'invalid_reading', errors: [{ path: '/timestamp', message: 'must be …' }], receivedAt: 1.5 })
  events.connections.connected(client('band-2', null))
  events.connections.disconnected(client('band-3', { id: 'band-3', role: 'device' }), 'keepalive')
  const sent = await all.atLeast(4)
  t.strictSame(sent.map(({ type }) => type).sort(), ['connected', 'disconnected', 'reading', 'rejected'])
  for (const { type, data } of sent) t.ok(SCHEMAS[type]!.Check(data), `${type} ${JSON.stringify(data)}`)
  t.match(all.of('rejected')[0]?.data, { deviceId: 'band-1', reason: 'invalid_reading', receivedAt: 1.5 })
  t.match(all.of('connected')[0]?.data, { deviceId: 'band-2' })
  t.match(all.of('disconnected')[0]?.data, { deviceId: 'band-3', reason: 'keepalive' })
  t.match(all.text(), 'data: {"deviceId":"bänd \\"1\\"","timestamp":1750240830.123456,"vitals":{"big":12345678901234567890,')
  const numbers = sent.map(({ id }) => Number(id.split('-')[1]))
  t.strictSame(numbers, [1, 2, 3, 4], 'ids count')
  t.equal(new Set(sent.map(({ id }) => id.split('-')[0])).size, 1)
})

t.test('only devices connect and disconnect', async (t) => {
  const { url, events, store } = await startEvents(t)
  const all = await openEvents(t, url)
  for (const role of ['operator', 'admin', 'application'] as const) {
    events.connections.connected(client(role, { id: role, role }))
    events.connections.disconnected(client(role, { id: role, role }), 'lost')
  }
  events.connections.connected(client('no/device', null))
  events.connections.connected(client('band', { id: 'band', role: 'device' }))
  store(['last'])
  const sent = await all.atLeast(2)
  t.strictSame(sent.map(({ data }) => data['deviceId']), ['band', 'last'])
})

t.test('filters: one device, several, a prefix', async (t) => {
  const { url, store } = await startEvents(t)
  const one = await openEvents(t, url, '/events?device=ward-1')
  const two = await openEvents(t, url, '/events?device=ward-1&device=b%C3%A4nd')
  const prefix = await openEvents(t, url, '/events?prefix=ward-')
  const proto = await openEvents(t, url, '/events?prefix=__proto__')
  store(['ward-1', 'ward-2', 'bänd', 'other', '__proto__x', 'ward-1'])
  const names = async (stream: typeof one, count: number) => (await stream.atLeast(count)).map(({ data }) => data['deviceId'])
  t.strictSame(await names(one, 2), ['ward-1', 'ward-1'])
  t.strictSame(await names(two, 3), ['ward-1', 'bänd', 'ward-1'])
  t.strictSame(await names(prefix, 3), ['ward-1', 'ward-2', 'ward-1'])
  t.strictSame(await names(proto, 1), ['__proto__x'])
})

t.test('a wrong query is refused, with every fault', async (t) => {
  const { url } = await startEvents(t)
  const many = Array.from({ length: 101 }, (_, at) => `device=d${at}`).join('&')
  for (const [query, path] of [
    ['device=', '/device'], ['device=a%2Fb', '/device'], ['device=a&device=..', '/device'], ['device=a&prefix=b', '/prefix'],
    ['prefix=', '/prefix'], ['prefix=a&prefix=b', '/prefix'], ['prefix=a%2F', '/prefix'], ['since=1', '/since'], [many, '/device']
  ] as const) {
    const { details } = await expectError(t, await fetch(`${url}/events?${query}`), 400, 'VITAL_INVALID_QUERY')
    t.match(details, exactly({ path }), query)
  }
})

t.test('other methods, and HEAD', async (t) => {
  const { url, metric } = await startEvents(t)
  t.equal((await fetch(`${url}/events`, { method: 'POST' })).headers.get('allow'), 'GET, HEAD, OPTIONS')
  const head = await fetch(`${url}/events`, { method: 'HEAD' })
  t.equal(head.status, 200)
  t.equal(head.headers.get('content-type'), 'text/event-stream')
  t.equal(await metric('vital_event_listeners'), 0)
})

t.test('a reconnect gets readings stored meanwhile, once and in order', async (t) => {
  const { url, store } = await startEvents(t)
  for (const [path, expected] of [
    ['/events', ['a', 'b', 'a', 'b', 'late']], ['/events?device=a', ['a', 'a']], ['/events?prefix=b', ['b', 'b']]
  ] as const) {
    const first = await openEvents(t, url, path)
    store(['a', 'b'], 1)
    await first.atLeast(1)
    first.request.destroy()
    store(['a', 'b', 'a', 'b'], 2)
    const again = await openEvents(t, url, path, { 'last-event-id': first.lastEventId() })
    store(['late'])
    const sent = await again.atLeast(expected.length)
    t.strictSame(sent.map(({ data }) => data['deviceId']), expected)
    t.strictSame(again.of('missed'), [])
    again.request.destroy()
  }
})

t.test('a listener that has seen no event yet has a position, too', async (t) => {
  const { url, store } = await startEvents(t)
  const first = await openEvents(t, url)
  await until(() => first.text().includes('id: '), 'the first bytes')
  first.request.destroy()
  store(['a'])
  const again = await openEvents(t, url, '/events', { 'last-event-id': first.lastEventId() })
  t.match(await again.atLeast(1), exactly({ type: 'reading', data: { deviceId: 'a' } }))
})

t.test('events that cannot be caught up are reported as one missed, before those that can', async (t) => {
  const { url, store } = await startEvents(t, { ringBytesMax: 4000, pageBytes: 500 })
  const watcher = await openEvents(t, url)
  const first = await openEvents(t, url)
  store(['a'])
  const [{ id = '' } = {}] = await first.atLeast(1)
  for (let second = 2; second <= 200; second++) store(['a', 'b'], second)
  await until(() => watcher.events().length + Number(watcher.of('missed')[0]?.data['count'] ?? 0) >= 399, 'the watcher to see 399 events')

  const all = await openEvents(t, url, '/events', { 'last-event-id': id })
  const [missed, ...rest] = await all.atLeast(2)
  t.equal(missed?.type, 'missed')
  t.equal(Number(missed?.data['count']) + rest.length, 398, 'the exact count')
  t.equal(all.of('missed').length, 1)
  t.equal(Number(missed?.id.split('-')[1]) + 1, Number(rest[0]?.id.split('-')[1]), 'a reconnect with this id misses nothing more')
  const one = await openEvents(t, url, '/events?device=a', { 'last-event-id': id })
  t.match(await one.atLeast(2), [{ type: 'missed', data: { count: null } }, { type: 'reading', data: { deviceId: 'a' } }])
  t.equal(one.of('missed').length, 1)
})

t.test('an id of another gateway, of an earlier run or of no gateway: one missed, with an unknown count', async (t) => {
  const { url, store } = await startEvents(t)
  const first = await openEvents(t, url)
  store(['a'])
  await first.atLeast(1)
  const epoch = first.lastEventId().split('-')[0]!
  for (const id of ['0123456789ab-1', `${epoch}-99`, 'nonsense', `${epoch}--1`, `${epoch}-1e3`]) {
    const stream = await openEvents(t, url, '/events', { 'last-event-id': id })
    const [missed] = await stream.atLeast(1)
    t.match(missed, { type: 'missed', data: { count: null } }, id)
    t.ok(SCHEMAS['missed']!.Check(missed?.data))
    store(['b'])
    t.match(await stream.atLeast(2), exactly({ type: 'missed' }, { type: 'reading', data: { deviceId: 'b' } }))
    stream.request.destroy()
  }
  const empty = await openEvents(t, url, '/events', { 'last-event-id': '' })
  store(['c'])
  t.match(await empty.atLeast(1), exactly({ type: 'reading' }), 'an empty id counts as none')
})

t.test('heartbeats are comments, and advance the position of a quiet device', async (t) => {
  const { url, store } = await startEvents(t, { heartbeatMs: 200, checkIntervalMs: 50, ringBytesMax: 2000, pageBytes: 500 })
  const quiet = await openEvents(t, url, '/events?device=quiet')
  const all = await openEvents(t, url)
  for (let second = 0; second < 100; second++) store(['busy'], second)
  await until(() => /^id: \w+-100$/m.test(quiet.text()), 'a heartbeat')
  t.match(quiet.text(), /\n\n:\nid: \w+-100\n\n/)
  t.strictSame(quiet.events(), [])
  await until(() => (all.text().match(/^:$/gm)?.length ?? 0) >= 2, 'heartbeats without events between')
  quiet.request.destroy()
  store(['quiet'])
  const again = await openEvents(t, url, '/events?device=quiet', { 'last-event-id': quiet.lastEventId() })
  t.match(await again.atLeast(1), exactly({ type: 'reading' }), 'nothing was missed')
})

t.test('a client that leaves is forgotten at once; some time after the last one events are freed, and ids begin anew', async (t) => {
  const { url, store, metric } = await startEvents(t, { catchUpMs: 300 })
  store(['unheard'])
  t.equal(await metric('vital_event_bytes'), 0, 'nothing is kept without listeners')
  const first = await openEvents(t, url)
  store(['a'])
  await first.atLeast(1)
  t.equal(await metric('vital_event_listeners'), 1)
  first.request.destroy()
  await until(async () => await metric('vital_event_listeners') === 0, 'the listener to be gone', 2000)
  t.not(await metric('vital_event_bytes'), 0)
  await until(async () => await metric('vital_event_bytes') === 0, 'the events to be gone')
  t.equal(await metric('vital_events_sent_total'), 1, 'totals stay')
  const again = await openEvents(t, url, '/events', { 'last-event-id': first.lastEventId() })
  t.match(await again.atLeast(1), exactly({ type: 'missed', data: { count: null } }))
  t.not(again.lastEventId().split('-')[0], first.lastEventId().split('-')[0])
})

t.test('no event of an erased device is sent any more', async (t) => {
  const { url, store, events } = await startEvents(t)
  const first = await openEvents(t, url)
  await until(() => first.text().includes('id: '), 'the first bytes')
  first.request.destroy()
  store(['stays', 'erased', 'stays'])
  await new Promise((resolve) => { setImmediate(resolve) })
  events.forget('erased')
  for (const path of ['/events', '/events?device=stays']) {
    const again = await openEvents(t, url, path, { 'last-event-id': first.lastEventId() })
    t.strictSame((await again.atLeast(2)).map(({ data }) => data['deviceId']), ['stays', 'stays'])
    t.notMatch(again.text(), /erased/)
  }
})

t.test('a stop ends every stream, and later requests are told to come back', async (t) => {
  const { url, events, stop } = await startEvents(t)
  const streams = await Promise.all(Array.from({ length: 20 }, () => openEvents(t, url)))
  events.stop()
  await until(() => streams.every(({ hasEnded }) => hasEnded), 'the streams to end')
  const late = await openEvents(t, url)
  await until(() => late.hasEnded, 'the end')
  t.equal(late.response.statusCode, 200)
  t.match(late.text(), /^: .*\nretry: [2-6]\d{3}\n\n$/)
  const heldUp = new Promise((resolve) => { setTimeout(resolve, 6000, 'held up').unref() })
  const outcome = await Promise.race([stop().then(() => 'stopped'), heldUp])
  t.equal(outcome, 'stopped')
})

t.test('pages of listed origins may listen, send their own headers, and resume where they left', async (t) => {
  const page = 'https://page.example'
  const { url } = await startEvents(t, {}, { origins: [page] })
  const preflight = await fetch(`${url}/events`, {
    method: 'OPTIONS',
    headers: { origin: page, 'access-control-request-method': 'GET', 'access-control-request-headers': 'authorization,last-event-id' }
  })
  t.equal(preflight.status, 204)
  t.equal(preflight.headers.get('access-control-allow-origin'), page)
  t.match(preflight.headers.get('access-control-allow-headers'), /Authorization.*Last-Event-ID/)
  t.match(preflight.headers.get('access-control-allow-methods'), /GET/)
  const listed = await openEvents(t, url, '/events', { origin: page })
  t.match(listed.response.headers, { 'access-control-allow-origin': page, vary: 'Origin' })
  const stranger = await openEvents(t, url, '/events', { origin: 'https://stranger.example' })
  t.equal(stranger.response.headers['access-control-allow-origin'], undefined)
})
