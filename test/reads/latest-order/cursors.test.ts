import fc from 'fast-check'
import pg from 'pg'
import t from 'tap'
import type { ReadingRow } from '../../../db/rows.ts'
import type { LatestQuery } from '../../../schemas/vital-data.ts'
import { compareDevices } from '../../../src/reads/latest-order/compare-devices.ts'
import { decodeCursor, encodeCursor } from '../../../src/reads/latest-order/cursor.ts'
import { DeviceOrder } from '../../../src/reads/latest-order/device-order.ts'
import type { OrderSearch } from '../../../src/reads/latest-order/pick-page.ts'
import type { CursorPage, CursorSearch } from '../../../src/reads/latest-order/sorted-pages.ts'
import { holds } from '../../helpers/property.ts'
import { createRandom } from '../../helpers/random.ts'
import { until } from '../../helpers/until.ts'
import { NAME, ORDERS, reading, SORTS, type Started, startPages } from './pages.ts'

const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000)
t.comment(`SEED=${seed}`)

const SEARCHES = SORTS.flatMap((sortBy) => ORDERS.map((orderBy) => ({ sortBy, orderBy })))
const FILTERS = [{}, { prefix: 'b' }, { silentSinceUs: 2_000_000 }, { prefix: 'b\u{10000}', silentSinceUs: 1_000_000 }]
const PARTS = ['a', 'b', 'Z', ' ', '\ue000', '\u{10000}', '\u{10ffff}']

/** The sort values of a device. */
interface Known {
  readonly device: string
  readonly timeUs: number
  readonly heart: number | null
  readonly breath: number | null
}

/** The devices that the pages must hold, by sorting all. */
function sortAll (
  known: readonly Known[], { sortBy, orderBy, prefix = '', silentSinceUs = Infinity }: CursorSearch
): string[] {
  const sign = orderBy === 'asc' ? 1 : -1
  const valueOf = ({ timeUs, heart, breath }: Known) => {
    if (sortBy === 'timestamp') return timeUs
    return sortBy === 'heartRate' ? heart : breath
  }
  return known.filter(({ device, timeUs }) => device.startsWith(prefix) && timeUs <= silentSinceUs).sort((a, b) => {
    if (sortBy === 'deviceId') return sign * compareDevices(a.device, b.device)
    const [left, right] = [valueOf(a), valueOf(b)]
    if (left === right) return compareDevices(a.device, b.device)
    return left === null ? 1 : right === null ? -1 : sign * (left - right)
  }).map(({ device }) => device)
}

const toReading = ({ device, timeUs, heart, breath }: Known): ReadingRow => reading(device, timeUs, {
  ...heart !== null && { heartRateValue: heart }, ...breath !== null && { breathRateValue: breath }
})

const rate = fc.option(fc.constantFrom(-1.5, 0, -0, 3, 1e300), { nil: null })
const knownDevices = fc.uniqueArray(fc.record({
  device: fc.string({ unit: fc.constantFrom(...PARTS), minLength: 1, maxLength: 4 }),
  timeUs: fc.integer({ min: 0, max: 4 }).map((n) => n * 500_000),
  heart: rate,
  breath: rate
}), { selector: ({ device }) => device, maxLength: 40 })

t.test('walking by cursor gives each device of an unchanging order once, in order', (t) => {
  const shape = fc.record({
    search: fc.constantFrom(...SEARCHES),
    filter: fc.constantFrom(...FILTERS),
    count: fc.integer({ min: 1, max: 7 }),
    unranked: fc.integer({ min: 0, max: 3 })
  })
  const property = fc.property(knownDevices, shape, (known, { search, filter, count, unranked }) => {
    const order = new DeviceOrder({ devicesMax: 100 })
    const round = order.begin()
    order.startRanking()
    order.observe(known.map(toReading))
    const ids = known.map(({ device }) => device).sort(compareDevices)
    // Ranks with gaps, and devices that were added since the ranking.
    for (const [index, device] of ids.entries()) if (unranked === 0 || index % 4 >= unranked) order.rank(device, index * 3)
    order.finishRanking(round, 0)
    const moment = order.begin()
    const expected = sortAll(known, { ...search, ...filter, offset: 0, count })
    const found: string[] = []
    let after: OrderSearch['after']
    do {
      const page = order.pick({ ...search, ...filter, offset: 0, count, after })!
      if (page.total !== expected.length || page.devices.length > count) return false
      found.push(...page.devices)
      after = page.end === null ? undefined : { ...page.end, moment }
    } while (after !== undefined)
    return JSON.stringify(found) === JSON.stringify(expected)
  })
  holds(t, property, 5000)
  t.end()
})

t.test('few ids of many devices are compared, and the pages are right', (t) => {
  const order = new DeviceOrder({ devicesMax: 50_000 })
  const ids = Array.from({ length: 30_000 }, (_, n) => `ward-${n % 7}-${String(n * 7919 % 30_011).padStart(5, '0')}`)
  order.observe(ids.map((device, n) => reading(device, n % 1000)))
  order.startRanking()
  const sorted = ids.toSorted(compareDevices)
  for (const [rank, device] of sorted.entries()) order.rank(device, rank)
  order.finishRanking(order.begin(), 0)
  order.remove(sorted[20_000]!)
  const ward = sorted.filter((device) => device.startsWith('ward-3-'))
  const search = { sortBy: 'deviceId', orderBy: 'asc', offset: 0, count: 100, prefix: 'ward-3-' } as const
  const first = order.pick(search)!
  t.equal(first.total, ward.length)
  t.same(first.devices, ward.slice(0, 100))
  // The device of the cursor has gone.
  order.remove(ward[99]!)
  t.same(order.pick({ ...search, after: { ...first.end!, moment: 0 } })!.devices, ward.slice(100, 200))
  t.end()
})

/** Walks all pages. `between` runs after each page. */
async function walk (pages: Started['pages'], search: CursorSearch, between: (page: number) => Promise<void> = async () => {}) {
  const found: string[] = []
  const totals = new Set<number>()
  let after: CursorSearch['after']
  let page: CursorPage
  for (let n = 0; ; n++) {
    page = await pages.list({ ...search, after })
    found.push(...page.resources.map(({ deviceId }) => deviceId))
    totals.add(page.total)
    if (page.next === null) return { found, totals }
    // Encoded and decoded, as over HTTP.
    const { sortBy, orderBy, offset, count } = search
    const query: LatestQuery = { sortBy, orderBy, offset, count }
    after = decodeCursor(query, encodeCursor(query, page.next))
    await between(n)
  }
}

const SIDES = [['the order in memory', true], ['PostgreSQL', false]] as const

for (const [side, isInMemory] of SIDES) {
  t.test(`${side}: filtered pages by cursor and by offset equal those of sorting all devices`, { timeout: 120_000 }, async (t) => {
    const [known = []] = fc.sample(knownDevices, { seed, numRuns: 30 }).sort((a, b) => b.length - a.length)
    const { pages, write } = await startPages(t)
    await write(...known.map(toReading))
    if (isInMemory) {
      pages.start()
      await until(() => pages.isTrusted)
    }
    for (const search of SEARCHES) {
      for (const filter of FILTERS) {
        const asked = { ...search, ...filter, offset: 0, count: 4 }
        const expected = sortAll(known, asked)
        const { found, totals } = await walk(pages, asked)
        const label = JSON.stringify(asked)
        t.same(found, expected, label)
        t.same([...totals], [expected.length], label)
        const paged = await pages.list({ ...asked, offset: 3 })
        t.same(paged.resources.map(({ deviceId }) => deviceId), expected.slice(3, 7), label)
        t.equal(paged.next === null, expected.length <= 7, label)
        t.equal(pages.isTrusted, isInMemory)
      }
    }
  })

  t.test(`${side}: while devices are added, removed and moved, none comes twice, and none that ` +
    'stays is missed', { timeout: 120_000 }, async (t) => {
    const random = createRandom(seed)
    const pick = (length: number) => Math.floor(random() * length)
    for (const search of SEARCHES) {
      const { pages, write, query } = await startPages(t)
      const ids = Array.from({ length: 60 }, (_, n) => `d${String(n).padStart(3, '0')}`)
      const fields = () => ({ ...random() < 0.7 && { heartRateValue: pick(9) }, ...random() < 0.7 && { breathRateValue: pick(9) } })
      let timeUs = 1_000_000
      const next = (device: string) => reading(device, timeUs++, fields())
      await write(...ids.map(next))
      if (isInMemory) {
        pages.start()
        await until(() => pages.isTrusted)
      }
      const touched = new Set<string>()
      const change = async () => {
        for (let n = 0; n < 3; n++) {
          const device = ids[pick(ids.length)]!
          touched.add(device)
          if (random() < 0.3) {
            await query('delete from latest where device = $1', [device])
            await pages.forget(device)
          }
          if (random() < 0.8) await write(next(device))
        }
        await write(next(`d${String(pick(60)).padStart(3, '0')}-new-${timeUs}`))
      }
      const { found } = await walk(pages, { ...search, offset: 0, count: 5 }, change)
      const label = `${JSON.stringify(search)}: ${found.join(' ')}`
      t.equal(new Set(found).size, found.length, label)
      const stayed = ids.filter((device) => !touched.has(device))
      t.same(stayed.filter((device) => !found.includes(device)), [], label)
      t.equal(pages.isTrusted, isInMemory)
      await pages.stop()
    }
  })
}

t.test('by deviceId a device that moves is on a page, too', async (t) => {
  const { pages, write } = await startPages(t, { keyOffsetMax: 10_000 })
  const ids = Array.from({ length: 20 }, (_, n) => `d${String(n).padStart(2, '0')}`)
  await write(...ids.map((device) => reading(device, 1)))
  pages.start()
  await until(() => pages.isTrusted)
  let timeUs = 2
  for (const filter of [{}, { prefix: 'd' }]) {
    const { found } = await walk(pages, { ...filter, sortBy: 'deviceId', orderBy: 'asc', offset: 0, count: 3 },
      async () => { await write(...ids.map((device) => reading(device, timeUs++, { heartRateValue: timeUs }))) })
    t.same(found, ids)
  }
})

t.test('in memory a device that sends the same value again has not moved', async (t) => {
  const { pages, write } = await startPages(t, { reloadIntervalMs: 1, watchIntervalMs: 5 })
  const ids = Array.from({ length: 12 }, (_, n) => `d${String(n).padStart(2, '0')}`)
  await write(...ids.map((device, n) => reading(device, 1, { heartRateValue: n % 3 })))
  pages.start()
  await until(() => pages.isTrusted)
  let timeUs = 2
  const search = { sortBy: 'heartRate', orderBy: 'asc', offset: 0, count: 2 } as const
  const { found } = await walk(pages, search, async () => {
    await write(...ids.map((device, n) => reading(device, timeUs++, { heartRateValue: n % 3 })))
  })
  t.equal(found.length, 12)
  const moved = await walk(pages, search, async () => {
    await write(...ids.map((device) => reading(device, timeUs++, { heartRateValue: timeUs })))
  })
  t.equal(moved.found.length, 2, 'and one with another value has')
})

t.test('beside another gateway a walk continues in PostgreSQL, and stays there to its end', async (t) => {
  const { pages, write, writeUnseen, connectionString } = await startPages(t)
  const ids = Array.from({ length: 20 }, (_, n) => `d${String(n).padStart(2, '0')}`)
  await write(...ids.map((device, n) => reading(device, 1, { heartRateValue: n % 4 })))
  pages.start()
  await until(() => pages.isTrusted)
  const other = new pg.Client({ connectionString, application_name: `${NAME}2` })
  const steps = [
    // `d00` was on the first page; its next value is on a page that PostgreSQL sorts.
    async () => { await write(reading('d00', 2, { heartRateValue: 3 }), reading('d19', 2, { heartRateValue: 2.5 })) },
    async () => {
      await other.connect()
      await until(() => !pages.isTrusted)
      await writeUnseen(reading('d04', 3, { heartRateValue: 2.7 }))
    },
    async () => {},
    async () => {
      await other.end()
      await until(() => pages.isTrusted)
    }
  ]
  const { found } = await walk(pages, { sortBy: 'heartRate', orderBy: 'asc', offset: 0, count: 3 }, async (n) => { await steps[n]?.() })
  t.equal(new Set(found).size, found.length, found.join(' '))
  t.same(ids.filter((device) => !found.includes(device)), ['d19'], 'which moved')
})

t.test('rows of a transaction that was under way when the walk began count as changed since', async (t) => {
  const { pages, write, query, connectionString } = await startPages(t)
  await write(...['a', 'b', 'c', 'd'].map((device, n) => reading(device, 1, { heartRateValue: n })))
  const writer = new pg.Client({ connectionString })
  await writer.connect()
  t.teardown(() => writer.end())
  await writer.query('begin')
  await writer.query('update latest set heart_rate = 9 where device = \'a\'')
  // Later transactions have higher numbers.
  await query('select pg_current_xact_id()')
  const { found } = await walk(pages, { sortBy: 'heartRate', orderBy: 'asc', offset: 0, count: 1 }, async (n) => {
    if (n === 0) await writer.query('commit')
  })
  t.same(found, ['a', 'b', 'c', 'd'])
})

t.test('a cursor belongs to its query', (t) => {
  const query: LatestQuery = { sortBy: 'heartRate', orderBy: 'asc', count: 5, offset: 0, prefix: 'a', silentFor: '5m' }
  const cursor = { key: 1.5, device: 'b "ä😀', snapshot: { xmax: 12, xip: [7, 9] }, walk: { orderId: 'x', moment: 3 } }
  const text = encodeCursor(query, cursor)
  t.match(text, /^[\w-]+$/, 'base64url')
  t.same(decodeCursor(query, text), cursor)
  t.same(decodeCursor({ ...query, count: 7, silentFor: '300' }, text), cursor, 'a page may have another size')
  const others: LatestQuery[] = [
    { ...query, sortBy: 'breathRate' }, { ...query, orderBy: 'desc' }, { ...query, prefix: 'b' }, { ...query, silentFor: '6m' }
  ]
  const { prefix, ...unfiltered } = query
  for (const other of [...others, unfiltered]) t.throws(() => decodeCursor(other, text), { code: 'VITAL_INVALID_CURSOR' })
  const forge = (change: object) => Buffer.from(JSON.stringify({
    ...JSON.parse(Buffer.from(text, 'base64url').toString()) as object, ...change
  })).toString('base64url')
  t.same(decodeCursor(query, forge({})), cursor)
  for (const forged of [
    '', '!!!!', 'eyJ', 'bnVsbA', 'MQ', text.slice(0, -2), forge({ key: '1' }), forge({ device: 'a\u0000' }), forge({ device: 'a/b' }),
    forge({ device: undefined }),
    forge({ snapshot: null }), forge({ snapshot: { xmax: -1, xip: [] } }), forge({ snapshot: { xmax: 1.5, xip: [] } }),
    forge({ snapshot: { xmax: 1, xip: ['1'] } }), forge({ walk: 5 }), forge({ walk: { orderId: 'x', moment: null } })
  ]) t.throws(() => decodeCursor(query, forged), { code: 'VITAL_INVALID_CURSOR' }, forged)
  const byTime: LatestQuery = { ...query, sortBy: 'timestamp' }
  t.throws(() => decodeCursor(byTime, encodeCursor(byTime, { ...cursor, key: 1e300 })), { code: 'VITAL_INVALID_CURSOR' })
  t.throws(() => decodeCursor(byTime, encodeCursor(byTime, { ...cursor, key: null })), { code: 'VITAL_INVALID_CURSOR' })
  t.end()
})
