/** Listeners that read slowly or not at all, and too many of them. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import type { Principal } from '../../schemas/principal.ts'
import { openEvents, parseEvents, startEvents, toRow } from '../helpers/events.ts'
import { until } from '../helpers/until.ts'

/** More than the kernel buffers for one connection. */
const LARGE = JSON.stringify({ text: 'x'.repeat(100_000) })

/** A listener that reads nothing. */
async function openFrozen (t: Test, port: number, path = '/events'): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => { socket.destroy() })
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.pause()
  // HTTP/1.0: the body comes without chunks.
  socket.write(`GET ${path} HTTP/1.0\r\nhost: x\r\n\r\n`)
  return socket
}

t.test('a slow listener is told exactly how many events it missed, and no other waits for it', { timeout: 60_000 }, async (t) => {
  const { url, port, events, metric } = await startEvents(t, { ringBytesMax: 1_000_000, deliveryIntervalMs: 5 })
  const paths = ['/events', '/events?device=large', '/events?device=large&device=x', '/events?prefix=la']
  const frozen = await Promise.all(paths.map((path) => openFrozen(t, port, path)))
  const small = await openEvents(t, url, '/events?device=small')
  await until(async () => await metric('vital_event_listeners') === 5, 'the listeners')
  for (let second = 1; second <= 300; second++) {
    events.observe([toRow('large', second, LARGE), toRow('small', second)])
    await small.atLeast(second)
  }
  t.strictSame(small.of('missed'), [])
  t.ok(await metric('vital_events_missed_total') > 0)
  t.ok(await metric('vital_event_bytes') < 1_000_000 + 4 * 300_000, 'the memory of slow listeners is bounded')
  for (const [at, socket] of frozen.entries()) {
    let answer = ''
    let last = 0
    socket.setEncoding('utf8').on('data', (chunk: string) => { answer += chunk }).resume()
    const readings = at === 0 ? 600 : 300
    const sum = () => parseEvents(answer.slice(answer.indexOf('\r\n\r\n') + 4))
      .reduce((total, { type, data }) => total + (type === 'missed' ? Number(data['count']) : 1), 0)
    await until(() => answer.length > last && (last = answer.length) > 0 && sum() >= readings, `all events of ${paths[at]}`)
    t.equal(sum(), readings, `all events of ${paths[at]}`)
    const sent = parseEvents(answer.slice(answer.indexOf('\r\n\r\n') + 4))
    t.ok(sent.some(({ type }) => type === 'missed'))
    const numbers = sent.map(({ id }) => Number(id.split('-')[1]))
    t.strictSame(numbers, numbers.toSorted((one, other) => one - other), 'in order')
    t.equal(new Set(numbers).size, numbers.length, 'none twice')
    if (at > 0) continue
    for (const [index, { type, data }] of sent.entries()) {
      if (type === 'missed') t.equal(numbers[index]! - (numbers[index - 1] ?? 0), data['count'], 'the count is that of the missing numbers')
    }
    socket.destroy()
  }
  events.observe([toRow('small', 301)])
  await small.atLeast(301)
})

t.test('a listener that reads nothing for long is closed, and its memory is freed', { timeout: 60_000 }, async (t) => {
  const { url, port, events, metric } = await startEvents(t, { ringBytesMax: 500_000, stalledMs: 500, checkIntervalMs: 50 })
  const frozen = await openFrozen(t, port)
  const closed = once(frozen, 'close')
  const small = await openEvents(t, url, '/events?device=small')
  let second = 0
  await until(async () => {
    events.observe([toRow('large', ++second, LARGE), toRow('small', second)])
    return await metric('vital_event_listeners_closed_total') === 1
  }, 'it to be closed')
  frozen.resume()
  await closed
  t.equal(await metric('vital_event_listeners'), 1)
  t.ok(await metric('vital_event_bytes') <= 500_000)
  const count = small.events().length
  events.observe([toRow('small', 0)])
  await small.atLeast(count + 1)
})

t.test('all listeners share a bound: beyond it the one that has not read for longest is closed', { timeout: 60_000 }, async (t) => {
  const { port, events, metric } = await startEvents(t, { ringBytesMax: 200_000, unsentBytesMax: 250_000 })
  const order: number[] = []
  const sockets: Socket[] = []
  for (let at = 0; at < 4; at++) {
    sockets.push(await openFrozen(t, port))
    // One after the other, so that it is known which stalls first.
    await until(async () => await metric('vital_event_listeners') === at + 1, 'the listener')
    const before = await metric('vital_event_bytes')
    for (let count = 0; count < 200; count++) {
      events.observe([toRow('large', 1, LARGE)])
      // Time to be written by itself: readings written together are missed, and fill no buffer of the kernel.
      await new Promise((resolve) => { setTimeout(resolve, 4) })
      if (await metric('vital_event_listeners_closed_total') > 0) break
    }
    t.ok(await metric('vital_event_bytes') <= 200_000 + 250_000 + 2 * 120_000, `${before}`)
    if (await metric('vital_event_listeners_closed_total') > 0) break
  }
  for (const [at, socket] of sockets.entries()) socket.on('close', () => { order.push(at) }).resume()
  await until(() => order.length > 0, 'one to be closed')
  t.equal(order[0], 0)
})

t.test('a listener beyond the bound gets 200 and is told to come back; an error would end it for good', async (t) => {
  const { url, metric } = await startEvents(t, { listenersMax: 2 })
  const first = await openEvents(t, url)
  await openEvents(t, url)
  const third = await openEvents(t, url)
  await until(() => third.hasEnded, 'its end')
  t.equal(third.response.statusCode, 200)
  t.equal(third.response.headers['content-type'], 'text/event-stream')
  t.match(third.text(), /^: too many listeners.*\nretry: \d{4}\n\n$/)
  t.equal(await metric('vital_event_listeners_refused_total'), 1)
  first.request.destroy()
  await until(async () => await metric('vital_event_listeners') === 1, 'room')
  const again = await openEvents(t, url)
  await until(() => again.text().includes('events follow'), 'the first bytes')
})

t.test('one device cannot take the places of all others', async (t) => {
  const principals: Record<string, Principal> = { one: { id: 'one', role: 'device' }, app: { id: 'app', role: 'application' } }
  const { url } = await startEvents(t, { listenersPerDeviceMax: 2 }, {
    authenticate: ({ authorization = '' }) => ({ status: 'accepted', principal: principals[authorization.slice('Bearer '.length)]! })
  })
  const open = (who: string) => openEvents(t, url, '/events?device=one', { authorization: `Bearer ${who}` })
  const [first] = [await open('one'), await open('one')]
  const third = await open('one')
  await until(() => third.hasEnded, 'its end')
  t.match(third.text(), /too many/)
  for (let count = 0; count < 5; count++) await open('app')
  first.request.destroy()
  await until(async () => {
    const again = await open('one')
    await until(() => again.text().endsWith('\n\n'))
    return again.text().includes('events follow')
  }, 'room for the device')
})
