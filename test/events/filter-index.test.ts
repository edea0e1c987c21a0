import fc from 'fast-check'
import t from 'tap'
import { type EventFilter, FilterIndex, matchesFilter } from '../../src/events/event-filter.ts'
import { holds } from '../helpers/property.ts'

const ids = fc.string({ unit: fc.constantFrom('a', 'b', 'ü'), minLength: 1, maxLength: 4 })
const filters: fc.Arbitrary<EventFilter> = fc.oneof(
  fc.constant({ kind: 'all' as const }),
  fc.array(ids, { minLength: 1, maxLength: 4 }).map((devices) => ({ kind: 'devices' as const, devices: new Set(devices) })),
  ids.map((prefix) => ({ kind: 'prefix' as const, prefix }))
)

t.test('the index finds exactly the listeners whose filter fits, once each, also after some have left', (t) => {
  holds(t, fc.property(fc.array(filters, { maxLength: 12 }), fc.array(fc.nat(11)), ids, (all, leaving, device) => {
    const index = new FilterIndex<number>()
    for (const [at, filter] of all.entries()) index.add(filter, at)
    const left = new Set(leaving.filter((at) => at < all.length))
    for (const at of left) index.remove(all[at]!, at)
    const found: number[] = [...index.all]
    index.visit(device, (at) => { found.push(at) })
    const expected = [...all.keys()].filter((at) => !left.has(at) && matchesFilter(all[at]!, device))
    return JSON.stringify(found.sort((one, other) => one - other)) === JSON.stringify(expected)
  }))
  t.end()
})
