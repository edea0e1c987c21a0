import { pino } from 'pino'
import t, { type Test } from 'tap'
import { createDatabase } from '../../db/database.ts'
import { selectLatestSorted } from '../../db/queries/select-latest-sorted.ts'
import { createStore } from '../../db/store.ts'
import type { ReadingRow } from '../../db/rows.ts'
import type { ResourceList } from '../../schemas/vital-data.ts'
import { toRouteReads } from '../../src/reads/reads.ts'
import { toReadingRow } from '../../src/ingest/reading-row.ts'
import { createReadBudget } from '../../src/reads/read-budget.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { expectError, startHttpServer } from '../helpers/http-server.ts'

const reading = (device: string, timeUs: number, fields: Record<string, unknown> = {}): ReadingRow =>
  toReadingRow({ timestamp: timeUs / 1e6, ...fields }, device, Date.now())

async function startWithDatabase (
  t: Test, readings: ReadingRow[], timeouts: { statementTimeoutMs?: number, queryTimeoutMs?: number } = {}
) {
  const { connectionString, query } = await createTestDatabase(t)
  const database = createDatabase({ connectionString, poolSize: 3, logger: pino({ level: 'silent' }), ...timeouts })
  t.teardown(() => database.close())
  const store = createStore(database)
  for (const row of readings) await store.write([row], [])
  const budget = createReadBudget({ kysely: database.kysely, queriesMax: 3 })
  const server = await startHttpServer(t,
    toRouteReads(budget, {
      list: async (listed) => ({ ...await budget.query((kysely) => selectLatestSorted(kysely, listed)), next: null })
    }, { nowMs: Date.now }))
  const list = async (search: string) => await (await fetch(`${server.url}/vital-data?${search}`)).json() as ResourceList
  return { ...server, database, query, list }
}

const ids = (list: ResourceList) => list.resources.map((resource) => resource.deviceId).join(' ')

t.test('a device\'s readings are merged in any order of arrival, each field with its own time', async (t) => {
  const { url } = await startWithDatabase(t, [
    reading('bed-7', 1_750_240_802_000_001, { heartRateValue: 90, heartNote: { by: ['nurse', null] } }),
    reading('bed-7', 1_750_240_800_123_456, { heartRateValue: 80, weight: 71.5, '': 'empty name' }),
    reading('bed-7', 1_750_240_801_000_000, { breathValue: 14 })
  ])
  const response = await fetch(`${url}/vital-data/bed-7`)
  t.strictSame(await response.json(), {
    deviceId: 'bed-7',
    timestamp: 1750240802.000001,
    heartRate: 90,
    breathRate: 14,
    vitals: { '': 'empty name', weight: 71.5, breathValue: 14, heartNote: { by: ['nurse', null] }, heartRateValue: 90 },
    vitalTimestamps: {
      '': 1750240800.123456,
      weight: 1750240800.123456,
      breathValue: 1750240801,
      heartNote: 1750240802.000001,
      heartRateValue: 1750240802.000001
    }
  })
  await expectError(t, await fetch(`${url}/vital-data/bed-8`), 404, 'VITAL_DEVICE_NOT_FOUND')
})

t.test('microseconds survive, from 1970 until now', async (t) => {
  // A timestamp ahead of its receipt counts as the time of receipt.
  const times = [0, 1, 999_999, 1_000_000, 1_735_689_600_123_456, 1_735_689_600_999_999, (Date.now() - 60_000) * 1000 - 1]
  const { list } = await startWithDatabase(t, times.map((timeUs, i) => reading(`d${i}`, timeUs)))
  const { resources } = await list('sortBy=deviceId&orderBy=asc')
  t.strictSame(resources.map((resource) => resource.timestamp), times.map((timeUs) => timeUs / 1e6))
})

t.test('a reading without vital signs makes a device without vitals', async (t) => {
  const { list } = await startWithDatabase(t, [reading('quiet', 5_000_000)])
  t.strictSame(await list(''), {
    total: 1,
    resources: [{ deviceId: 'quiet', timestamp: 5, heartRate: null, breathRate: null, vitals: {}, vitalTimestamps: {} }],
    next: null
  })
})

t.test('sorts with nulls last in both directions and ties by device', async (t) => {
  const { list } = await startWithDatabase(t, [
    reading('c', 3_000_000, { heartRateValue: 70, breathRateValue: 12 }),
    reading('a', 1_000_000, { heartRateValue: 70 }),
    reading('e', 2_000_000, { heartRateValue: -1.5, breathValue: 9 }),
    reading('b', 2_000_000),
    reading('d', 2_000_000, { breathRateValue: 20 })
  ])
  const orders: Readonly<Record<string, string>> = {
    '': 'c b d e a',
    'sortBy=timestamp&orderBy=asc': 'a b d e c',
    'sortBy=heartRate': 'a c e b d',
    'sortBy=heartRate&orderBy=asc': 'e a c b d',
    'sortBy=breathRate': 'd c e a b',
    'sortBy=breathRate&orderBy=asc': 'e c d a b',
    'sortBy=deviceId': 'e d c b a',
    'sortBy=deviceId&orderBy=asc': 'a b c d e'
  }
  for (const [search, order] of Object.entries(orders)) {
    const list1 = await list(search)
    t.equal(ids(list1), order, search)
    t.equal(list1.total, 5)
  }
})

t.test('pages are stable: together they hold every device once, for every sort key', async (t) => {
  const readings = Array.from({ length: 53 }, (_, i) =>
    reading(`band-${(i * 37) % 53}`, (i % 3) * 1_000_000, i % 4 === 0 ? {} : { heartRateValue: 60 + i % 2 }))
  const { list } = await startWithDatabase(t, readings)
  for (const sortBy of ['timestamp', 'heartRate', 'breathRate', 'deviceId']) {
    for (const orderBy of ['asc', 'desc']) {
      const seen: string[] = []
      for (let offset = 0; offset < 60; offset += 7) {
        const page = await list(`count=7&offset=${offset}&sortBy=${sortBy}&orderBy=${orderBy}`)
        t.equal(page.total, 53)
        seen.push(...page.resources.map((resource) => resource.deviceId))
      }
      t.equal(seen.length, 53, `${sortBy} ${orderBy}`)
      t.equal(new Set(seen).size, 53)
    }
  }
  t.equal((await list('')).resources.length, 20, 'the default page')
  t.strictSame(await list('offset=10000000'), { total: 53, resources: [], next: null }, 'past the end the total stays')
})

t.test('a page without devices', async (t) => {
  const { list } = await startWithDatabase(t, [])
  t.strictSame(await list(''), { total: 0, resources: [], next: null })
})

t.test('a database that hangs answers 503 within its time-outs', async (t) => {
  const { url, query } = await startWithDatabase(t, [], { statementTimeoutMs: 200, queryTimeoutMs: 400 })
  // One statement in a session of its own: the lock is held until pg_sleep ends.
  const locked = query('do $$ begin lock table latest in access exclusive mode; perform pg_sleep(2); end $$')
  await new Promise((resolve) => setTimeout(resolve, 300))
  await expectError(t, await fetch(`${url}/vital-data`), 503, 'VITAL_DATABASE_UNAVAILABLE')
  await expectError(t, await fetch(`${url}/vital-data/a`), 503, 'VITAL_DATABASE_UNAVAILABLE')
  await locked
  t.equal((await fetch(`${url}/vital-data`)).status, 200, 'and comes back')
})

t.test('the total follows devices that are added, seen again, and deleted', async (t) => {
  const { database, query, list } = await startWithDatabase(t, [reading('a', 1_000_000), reading('b', 1_000_000), reading('a', 2_000_000)])
  const total = async () => (await list('count=1')).total
  t.equal(await total(), 2)
  const store = createStore(database)
  // Known and new ones in one batch, from several sessions at once, and one batch that is rolled back.
  await Promise.all(['c', 'd', 'e'].map((device) => store.write([reading(device, 1_000_000), reading('a',
    3_000_000 + device.charCodeAt(0))], [])))
  await t.rejects(store.write([reading('f', 1_000_000), { ...reading('g', 1_000_000), vitals: '{' }], []))
  t.equal(await total(), 5)
  t.equal((await list('offset=5')).total, 5, 'a page past the end knows it too')
  await query('set search_path = pg_catalog; delete from public.latest where device in (\'a\', \'e\', \'nobody\')')
  t.equal(await total(), 3)
  await query('truncate latest')
  t.equal(await total(), 0)
})
