import fc from 'fast-check'
import t from 'tap'
import type { ReadingRow } from '../../../db/rows.ts'
import type { LatestQuery } from '../../../schemas/vital-data.ts'
import { toRowAt } from '../../../src/ingest/reading-row.ts'
import { compareDevices } from '../../../src/reads/latest-order/compare-devices.ts'
import { DeviceOrder } from '../../../src/reads/latest-order/device-order.ts'
import { selectSlots, UNRANKED } from '../../../src/reads/latest-order/select-slots.ts'
import { holds } from '../../helpers/property.ts'
import { createRandom } from '../../helpers/random.ts'

const seed = Date.now() % 1_000_000
t.comment(`seed ${seed}`)

const PARTS = ['a', 'b', 'Z', '~', ' ', 'é', '\u07ff', '\ud7ff', '\ue000', '\uff5a', '\u{10000}', '\u{1f600}', '\u{10ffff}']

t.test('ids compare as their UTF-8 bytes do', (t) => {
  const ids = fc.string({ unit: fc.constantFrom(...PARTS), maxLength: 4 })
  holds(t, fc.property(ids, ids, (a, b) => Math.sign(compareDevices(a, b)) === Buffer.compare(Buffer.from(a), Buffer.from(b))), 10_000)
  t.end()
})

t.test('a page has the same slots as sorting all of them', (t) => {
  const random = createRandom(seed)
  for (let n = 0; n < 150; n++) {
    const size = Math.floor(random() * random() * 20_000)
    const kinds = [
      () => Math.floor(random() * 5), () => random(), () => NaN, (slot: number) => slot, (slot: number) => -slot,
      () => random() < 0.5 ? NaN : -0
    ]
    const kind = kinds[n % kinds.length]!
    const values = Float64Array.from({ length: size }, (_, slot) => random() < 0.1 ? NaN : kind(slot))
    const devices = Array.from({ length: size }, (_, slot) => `${slot * 7919 % 20_011}`)
    const sorted = [...devices.keys()].sort((a, b) => compareDevices(devices[a]!, devices[b]!))
    const ranks = new Uint32Array(size)
    for (const [rank, slot] of sorted.entries()) ranks[slot] = random() < 0.05 ? UNRANKED : rank
    for (const isDescending of [true, false]) {
      const compare = (a: number, b: number) => {
        const [left, right] = [values[a]!, values[b]!]
        if (Number.isNaN(left) || Number.isNaN(right)) return Number(Number.isNaN(left)) - Number(Number.isNaN(right))
        return isDescending ? right - left : left - right
      }
      // `sort` is stable, so ties stay in the order of their ids.
      const all = sorted.toSorted(compare)
      for (const offset of [0, 1, Math.floor(random() * size), size - 3, size, size + 5]) {
        if (offset < 0) continue
        const count = 1 + Math.floor(random() * 100)
        const slots = selectSlots({ devices, values, ranks }, size, { offset, count, isDescending })
        if (JSON.stringify(slots) !== JSON.stringify(all.slice(offset, offset + count))) {
          t.fail(`${n}: ${size} slots, page ${offset} ${count} ${isDescending}`)
        }
      }
    }
  }
  t.end()
})

t.test('a new sample is taken when one misses the page', (t) => {
  const size = 512 * 40
  const devices = Array.from({ length: size }, (_, slot) => `d${slot}`)
  const ranks = Uint32Array.from(devices.keys())
  // The first slot of each stretch sorts far in front. A sample that is not random takes exactly these.
  const values = Float64Array.from({ length: size }, (_, slot) => slot % 40 === 0 ? 1e6 + slot : slot)
  const all = [...devices.keys()].sort((a, b) => values[b]! - values[a]!)
  const page = { offset: size / 2, count: 20, isDescending: true }
  const random = createRandom(seed)
  let asked = 0
  t.same(selectSlots({ devices, values, ranks }, size, page, () => asked++ < 512 ? 0 : random()), all.slice(size / 2, size / 2 + 20))
  t.equal(selectSlots({ devices, values, ranks }, size, page, () => 0), null, 'and after some attempts given up')
  t.end()
})

const reading = (device: string, timeUs: number, fields: Record<string, unknown> = {}): ReadingRow => toRowAt(timeUs, fields, device, 0)
const row = (device: string, time: number, heartRate: number | null = null, heartRateTime = heartRate === null ? null : time) =>
  ({ device, time, heartRate, heartRateTime, breathRate: null, breathRateTime: null, breathValueTime: null })

function pageOf (
  order: DeviceOrder, sortBy: Exclude<LatestQuery['sortBy'], 'deviceId'> = 'heartRate', orderBy: LatestQuery['orderBy'] = 'desc'
): string {
  return order.pick({ sortBy, orderBy, offset: 0, count: 100 })!.devices.join(' ')
}

t.test('a row that was read replaces the entry, unless a newer one was observed since the read began', (t) => {
  const order = new DeviceOrder({ devicesMax: 100 })
  order.observe([reading('a', 9e6, { heartRateValue: 90 }), reading('b', 5e6, { heartRateValue: 70 })])
  const first = order.begin()
  order.take(row('a', 3, 50), first)
  t.equal(pageOf(order), 'b a', 'a value lowered by hand')
  t.equal(pageOf(order, 'timestamp'), 'b a')
  const second = order.begin()
  order.observe([reading('a', 10e6, { heartRateValue: 100 })])
  order.take(row('a', 3, 50), second)
  t.equal(pageOf(order), 'a b')
  order.take(row('b', 11, 120, 11), second)
  t.equal(pageOf(order), 'b a', 'a row newer than the entry is taken')
  order.correct(row('c', 11, 120, 11), second)
  t.equal(pageOf(order), 'b a', 'an unknown device is not corrected')
  t.end()
})

t.test('a device that a read lacks is removed, unless it was observed since', (t) => {
  const order = new DeviceOrder({ devicesMax: 100 })
  order.observe(['a', 'b', 'c', 'd'].map((device) => reading(device, 1e6)))
  const moment = order.begin()
  order.observe([reading('b', 2e6)])
  for (const device of ['a', 'b', 'nobody']) order.miss(device, moment)
  t.equal(pageOf(order, 'timestamp'), 'b c d')
  order.remove('b')
  t.equal(pageOf(order, 'timestamp'), 'c d')
  t.equal(order.size, 2)
  order.observe([reading('a', 1e6), reading('d', 3e6)])
  t.equal(pageOf(order, 'timestamp'), 'd a c', 'freed slots are reused correctly')
  t.end()
})

t.test('a round of loading removes the devices that it did not find', (t) => {
  const order = new DeviceOrder({ devicesMax: 100 })
  order.observe([reading('gone', 1e6), reading('stays', 1e6), reading('busy', 1e6)])
  t.equal(order.unranked, 3)
  const round = order.begin()
  order.startRanking()
  order.observe([reading('busy', 2e6), reading('new', 1e6)])
  order.take(row('stays', 1), order.begin())
  order.rank('stays', 0)
  order.take(row('unseen', 1), order.begin())
  order.rank('unseen', 1)
  order.finishRanking(round, 0)
  t.equal(pageOf(order, 'timestamp'), 'busy new stays unseen')
  t.equal(order.unranked, 2)
  t.end()
})

t.test('silent devices are counted when a round ends, without removed ones', (t) => {
  const order = new DeviceOrder({ devicesMax: 100 })
  order.observe([reading('gone', 1e6), reading('old', 1e6), reading('at the bound', 5e6), reading('new', 5e6 + 1)])
  const round = order.begin()
  order.startRanking()
  for (const [rank, device] of ['at the bound', 'new', 'old'].entries()) order.rank(device, rank)
  order.finishRanking(round, 5e6)
  t.equal(order.silent, 2)
  order.observe([reading('old', 9e6)])
  t.equal(order.silent, 2, 'until the next round')
  order.clear()
  t.equal(order.silent, 0)
  t.end()
})

t.test('a removed device does not return with a read that began before', (t) => {
  const order = new DeviceOrder({ devicesMax: 100 })
  const moment = order.begin()
  order.observe([reading('a', 1e6), reading('b', 1e6)])
  order.remove('a')
  order.remove('b')
  order.observe([reading('b', 2e6)])
  order.take(row('a', 1, 70), moment)
  order.take(row('b', 1, 70), moment)
  t.equal(pageOf(order), 'b')
  order.take(row('c', 1, 60), moment)
  t.equal(pageOf(order), 'c b', 'with a heart rate it would be in front')
  order.take(row('a', 1, 70), order.begin())
  t.equal(pageOf(order), 'a c b')
  t.end()
})

t.test('beyond its bound the order is empty until it is cleared', (t) => {
  const order = new DeviceOrder({ devicesMax: 3 })
  const rows = Array.from({ length: 4 }, (_, index) => reading(`d${index}`, 1e6))
  order.observe(rows.slice(0, 3))
  t.notOk(order.isFull)
  order.observe(rows)
  t.ok(order.isFull)
  order.observe(rows)
  order.take(row('x', 1), order.begin())
  t.equal(order.size, 0)
  order.clear()
  order.observe(rows.slice(0, 2))
  t.equal(pageOf(order), 'd0 d1')
  t.end()
})

t.test('many devices: columns grow', (t) => {
  const order = new DeviceOrder({ devicesMax: 10_000 })
  const rows = Array.from({ length: 5000 }, (_, index) => reading(`d${index}`, index, { heartRateValue: index % 997, breathValue: index }))
  for (let from = 0; from < 5000; from += 700) order.observe(rows.slice(from, from + 700))
  t.same(order.pick({ sortBy: 'timestamp', orderBy: 'desc', offset: 3000, count: 2 })?.devices, ['d1999', 'd1998'])
  t.same(order.pick({ sortBy: 'heartRate', orderBy: 'desc', offset: 0, count: 6 })?.devices,
    ['d1993', 'd2990', 'd3987', 'd4984', 'd996', 'd1992'])
  t.same(order.pick({ sortBy: 'breathRate', orderBy: 'asc', offset: 4998, count: 6 })?.devices, ['d4998', 'd4999'])
  t.end()
})

t.test('thousands of equal values are ordered by device', (t) => {
  const size = 30_000
  const columns = {
    devices: Array.from({ length: size }, (_, slot) => `d${slot}`),
    values: new Float64Array(size).fill(7),
    ranks: Uint32Array.from({ length: size }, (_, slot) => size - 1 - slot)
  }
  for (const isDescending of [true, false]) {
    t.same(selectSlots(columns, size, { offset: 0, count: 3, isDescending }), [size - 1, size - 2, size - 3])
  }
  t.end()
})

t.test('pages by id include devices that were added since the ranking', (t) => {
  const order = new DeviceOrder({ devicesMax: 10_000 })
  order.startRanking()
  order.observe(Array.from({ length: 3000 }, (_, n) => reading(`d${String(n * 2).padStart(4, '0')}`, n)))
  for (let n = 0; n < 3000; n++) order.rank(`d${String(n * 2).padStart(4, '0')}`, n)
  order.finishRanking(order.begin(), 0)
  order.observe([reading('d0003', 1)])
  order.remove('d5998')
  const page = (orderBy: 'asc' | 'desc', offset: number, count = 3) =>
    order.pick({ sortBy: 'deviceId', orderBy, offset, count })?.devices.join(' ')
  t.equal(page('asc', 0, 4), 'd0000 d0002 d0003 d0004')
  t.equal(page('asc', 1500), 'd2998 d3000 d3002')
  t.equal(page('desc', 0), 'd5996 d5994 d5992')
  t.equal(page('desc', 2997), 'd0003 d0002 d0000')
  t.equal(page('desc', 2999), 'd0000', 'the last page is short')
  t.equal(page('desc', 3000), '')
  t.equal(page('asc', 3000), '')
  t.end()
})
