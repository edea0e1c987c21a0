import fc from 'fast-check'
import t from 'tap'
import { EventRing } from '../../src/events/event-ring.ts'
import { parseEvents } from '../helpers/events.ts'
import { holds } from '../helpers/property.ts'

const createRing = (bytesMax: number, dropped: string[] = []) => new EventRing({
  epoch: 'e',
  bytesMax,
  pageBytes: 256,
  onDropped: ({ first, devices }) => {
    for (const [at, device] of devices.entries()) dropped.push(`${first + at} ${device}`)
  }
})

t.test('the ring keeps the latest events in order, and reports each dropped one once', (t) => {
  const event = fc.record({ device: fc.constantFrom('a', 'ü', 'ward-3'), text: fc.string({ unit: 'grapheme', maxLength: 300 }) })
  holds(t, fc.property(fc.array(event, { maxLength: 60 }), fc.integer({ min: 300, max: 4000 }), (events, bytesMax) => {
    const dropped: string[] = []
    const ring = createRing(bytesMax, dropped)
    for (const { device, text } of events) ring.append(device, 'reading', JSON.stringify({ text }))
    const told = events.map(({ device }, at) => `${at + 1} ${device}`)
    if (dropped.join() !== told.slice(0, ring.first - 1).join() || ring.next !== events.length + 1) return false
    for (let sequence = ring.first; sequence < ring.next; sequence++) {
      const { device, text } = events[sequence - 1]!
      const frame = ring.frame(sequence)
      const { first, devices } = ring.page(sequence)
      if (frame !== `event: reading\nid: e-${sequence}\ndata: ${JSON.stringify({ text })}\n\n`) return false
      if (devices[sequence - first] !== device) return false
    }
    let viewed = ''
    for (let at = ring.first; at < ring.next;) {
      const { bytes, events: count } = ring.view(at)
      viewed += bytes.toString()
      at += count
    }
    return parseEvents(viewed).length === ring.next - ring.first
  }))
  t.end()
})

t.test('the ring stays below its bound, but keeps one event that is larger', (t) => {
  const ring = createRing(2000)
  for (let count = 0; count < 1000; count++) {
    ring.append('a', 'reading', '{"x":1}')
    t.ok(ring.bytes <= 2000)
  }
  ring.append('a', 'reading', JSON.stringify('x'.repeat(5000)))
  t.equal(ring.first, ring.next - 1)
  ring.append('a', 'reading', '{}')
  t.ok(ring.bytes <= 2000)
  t.end()
})

t.test('events of a device that is erased become comments, and the others stay', (t) => {
  const ring = createRing(10_000)
  for (const device of ['a', 'gone', 'a', 'gone', 'b']) ring.append(device, 'reading', JSON.stringify({ device, secret: 'ü' }))
  const { length } = ring.view(1).bytes
  ring.forget('gone')
  let text = ''
  for (let at = 1; at < ring.next;) {
    const { bytes, events } = ring.view(at)
    text += bytes.toString()
    at += events
  }
  t.notMatch(text, /gone/)
  t.strictSame(parseEvents(text).map(({ data }) => data['device']), ['a', 'a', 'b'])
  t.ok(ring.view(1).bytes.length === length, 'lengths do not change')
  t.notOk(ring.page(1).devices.includes('gone'))
  t.end()
})
