import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import t, { type Test } from 'tap'
import { selectLatestSorted } from '../../../db/queries/select-latest-sorted.ts'
import type { ReadingRow } from '../../../db/rows.ts'
import { createStore } from '../../../db/store.ts'
import type { LatestQuery } from '../../../schemas/vital-data.ts'
import { createRandom } from '../../helpers/random.ts'
import { until } from '../../helpers/until.ts'
import { createReadings, NAME, ORDERS, reading, SORTS, type Started, startPages, toText } from './pages.ts'

/** Compares pages of the order with pages that PostgreSQL sorts. */
async function comparePages (
  t: Test,
  { pages, database: { kysely } }: Started,
  offsets: readonly number[],
  count: number,
  sorts: ReadonlyArray<typeof SORTS[number]> = SORTS
): Promise<void> {
  for (const sortBy of sorts) {
    for (const orderBy of ORDERS) {
      for (const offset of offsets) {
        const query = { sortBy, orderBy, offset, count }
        if (!pages.isTrusted) t.fail('the order is not trusted')
        const [ours, theirs] = [await pages.list(query), await selectLatestSorted(kysely, query)]
        if (toText(ours) !== toText(theirs)) t.same(ours, theirs, JSON.stringify(query))
      }
    }
  }
}

t.test('pages equal those of PostgreSQL, for any writes in any order', { timeout: 120_000 }, async (t) => {
  const seed = Date.now() % 1_000_000
  t.comment(`seed ${seed}`)
  for (let run = 0; run < Number(process.env['LATEST_RUNS'] ?? 2); run++) {
    const random = createRandom(seed + run)
    const next = createReadings(random)
    const started = await startPages(t)
    // Some writes before the order starts, some while it loads, some after.
    for (let n = 0; n < 10; n++) await started.write(...Array.from({ length: 5 }, next))
    started.pages.start()
    for (let n = 0; n < 10; n++) await started.write(...Array.from({ length: 1 + Math.floor(random() * 8) }, next))
    await until(() => started.pages.isTrusted)
    for (let n = 0; n < 12; n++) {
      for (let batch = 0; batch < 6; batch++) await started.write(...Array.from({ length: 1 + Math.floor(random() * 8) }, next))
      // One sort only, because each page corrects the rows that it fetched and would hide errors from the next sort.
      await comparePages(t, started, Array.from({ length: 23 }, (_, offset) => offset), 1 + Math.floor(random() * 7), [SORTS[n % 3]!])
    }
    await started.pages.stop()
  }
})

t.test('pages of a few thousand devices equal those of PostgreSQL', { timeout: 120_000 }, async (t) => {
  const started = await startPages(t)
  const rows = Array.from({ length: 9000 }, (_, n) =>
    reading(`band-${n * 7919 % 9001}`, n % 3000, { ...n % 3 > 0 && { heartRateValue: n % 50 }, ...n > 8990 && { breathValue: 12 } }))
  await started.write(...rows.slice(0, 6000))
  started.pages.start()
  await until(() => started.pages.isTrusted)
  await started.write(...rows.slice(6000))
  await comparePages(t, started, [0, 1, 19, 100, 2999, 4500, 5999, 8888, 8990, 9001], 20)
})

t.test('a reading is on the page as soon as it is stored', async (t) => {
  const { pages, write, ids } = await startPages(t)
  await write(reading('a', 1))
  pages.start()
  await until(() => pages.isTrusted)
  for (let n = 1; n <= 200; n++) {
    await write(reading(`d${n}`, n, { heartRateValue: n }))
    const top = await ids({ count: 1 })
    if (top !== `d${n}`) t.fail(`${top} instead of d${n}`)
  }
  t.ok(pages.isTrusted)
})

t.test('rows that are changed by hand are corrected', async (t) => {
  const { pages, write, writeUnseen, ids, query } = await startPages(t, { reloadIntervalMs: 300 })
  const change = async (device: string, heartRate: number) => {
    await query('delete from latest where device = $1', [device])
    await writeUnseen(reading(device, 2, { heartRateValue: heartRate }))
  }
  await write(...['a', 'b', 'c', 'd', 'e'].map((device, index) => reading(device, 1, { heartRateValue: index })))
  pages.start()
  await until(() => pages.isTrusted)
  await query('delete from latest where device = \'e\'')
  t.equal(await ids({ count: 2 }), 'd c', 'a deleted device is on no page')
  t.ok(pages.isTrusted)
  await change('d', -1)
  t.equal(await ids({ count: 2 }), 'c d', 'a lowered device is placed by its value among the others of the page')
  t.equal(await ids({ count: 2 }), 'c b', 'and then by its value among all')
  await change('new', 9)
  await change('a', 8)
  await until(async () => await ids() === 'new a c b d')
  await query('truncate latest')
  await until(async () => (await pages.list({ sortBy: 'heartRate', orderBy: 'asc', offset: 0, count: 20 })).total === 0)
  t.equal(await ids(), '')
  await until(() => pages.isTrusted)
})

t.test('after many rows are deleted by hand PostgreSQL sorts until the order was read again', async (t) => {
  const { pages, write, ids, query } = await startPages(t)
  await write(...Array.from({ length: 100 }, (_, n) => reading(`d${n}`, 1, { heartRateValue: n })))
  pages.start()
  await until(() => pages.isTrusted)
  await query('delete from latest where device not in (\'d3\', \'d4\')')
  t.equal(await ids({ count: 3 }), 'd4 d3')
  t.notOk(pages.isTrusted)
  await until(() => pages.isTrusted)
  t.equal(await ids({ count: 3 }), 'd4 d3')
})

t.test('after many rows are added by hand the order is read again at once', async (t) => {
  const { pages, write, ids, query } = await startPages(t)
  await write(reading('a', 1, { heartRateValue: 1 }))
  pages.start()
  await until(() => pages.isTrusted)
  await query(`insert into latest (device, time, oldest_time, vitals, vital_times)
    select 'd' || n, to_timestamp(n), to_timestamp(n), '{}', '{}' from generate_series(2, 10002) n`)
  t.equal(await ids({ sortBy: 'timestamp', count: 2 }), 'a')
  await until(async () => await ids({ sortBy: 'timestamp', count: 2 }) === 'd10002 d10001')
  t.ok(pages.isTrusted)
})

t.test('the order is read again while readings are written and devices are added and deleted', { timeout: 60_000 }, async (t) => {
  const started = await startPages(t, { reloadIntervalMs: 1, watchIntervalMs: 1 })
  const { database, pages, write, query } = started
  await write(...Array.from({ length: 9000 }, (_, n) => reading(`old-${n}`, n, { heartRateValue: n % 100 })))
  pages.start()
  await until(() => pages.isTrusted)
  const stop = new AbortController()
  let highest = 1000
  const writers = Array.from({ length: 3 }, async (_, writer) => {
    for (let n = 0; !stop.signal.aborted; n++) {
      const device = `${n % 2 === 0 ? 'a' : 'z'}-${writer}-${n}`
      await write(reading(device, n, { heartRateValue: ++highest }),
        reading(`old-${n * 31 % 9000}`, 10_000 + n, { heartRateValue: n % 100 }))
      if (n % 5 !== 0) continue
      const { resources } = await pages.list({ sortBy: 'heartRate', orderBy: 'desc', offset: 0, count: 100 })
      if (!resources.some(({ deviceId }) => deviceId === device)) t.fail(`${device} is not there`)
    }
  })
  await sleep(3000)
  await query('delete from latest where device like \'old-1%\'')
  await sleep(1500)
  stop.abort()
  await Promise.all(writers)
  // Wait for the end of a round that began after the deletion.
  const last: LatestQuery = { sortBy: 'timestamp', orderBy: 'asc', offset: 5000, count: 50 }
  await until(async () => toText(await pages.list(last)) === toText(await selectLatestSorted(database.kysely, last)) && pages.isTrusted)
  await comparePages(t, started, [0, 50, 1000, 5000, 7950], 50)
})

t.test('with another gateway connected PostgreSQL sorts', async (t) => {
  const { connectionString, pages, write, writeUnseen, ids } = await startPages(t)
  await write(reading('a', 1, { heartRateValue: 1 }))
  t.ok(Number.isNaN(pages.silent), 'before the first round')
  pages.start()
  await until(() => pages.isTrusted)
  t.equal(pages.silent, 1)
  const other = new pg.Client({ connectionString, application_name: 'vital-gateway elsewhere:1' })
  await other.connect()
  await until(() => !pages.isTrusted)
  t.ok(Number.isNaN(pages.silent), 'its readings are not seen here')
  await writeUnseen(reading('b', 1, { heartRateValue: 2 }))
  t.equal(await ids(), 'b a')
  await sleep(200)
  t.notOk(pages.isTrusted)
  await other.end()
  await until(() => pages.isTrusted)
  t.equal(await ids(), 'b a', 'and its readings are known once it has left')
  t.equal(pages.silent, 2)
})

t.test('a device is silent when its newest reading is five minutes old', async (t) => {
  const nowMs = Date.now()
  const { pages, write } = await startPages(t, { clock: { nowMs: () => nowMs } })
  await write(reading('silent', (nowMs - 300_000) * 1000), reading('in time', (nowMs - 299_999) * 1000))
  pages.start()
  await until(() => pages.isTrusted)
  t.equal(pages.silent, 1)
})

t.test('a batch whose COMMIT is not answered is on the page once it is replayed, whether it was stored before or not', async (t) => {
  const { database, pages, write, writeUnseen, ids, query } = await startPages(t)
  await write(reading('a', 1, { heartRateValue: 1 }))
  pages.start()
  await until(() => pages.isTrusted)
  const lost = createStore({ ...database, onStored: [() => t.fail('the outcome is unknown, so no observer may be told')] })
  await query('create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(1); return null; end $$')
  await query('create trigger slow after insert on readings for each statement execute function slow()')
  const writing = t.rejects(lost.write([reading('b', 1, { heartRateValue: 2 })], []), { code: 'VITAL_UNKNOWN_OUTCOME' })
  await sleep(300)
  await query(`select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and application_name = $1 and query like 'copy%'`, [NAME])
  await writing
  await query('drop trigger slow on readings')
  t.ok(pages.isTrusted, 'a slow PostgreSQL is not asked to sort as well')
  t.equal(await ids(), 'a')
  await write(reading('b', 1, { heartRateValue: 2 }))
  t.equal(await ids(), 'b a')
  await writeUnseen(reading('c', 1, { heartRateValue: 3 }))
  t.same(await write(reading('c', 1, { heartRateValue: 3 })), { duplicates: [0] })
  t.equal(await ids(), 'c b a')
})

t.test('while PostgreSQL does not answer there is no page, and afterwards they come from memory', async (t) => {
  const { pages, write, ids, query } = await startPages(t, { reloadIntervalMs: 1 })
  await write(reading('a', 1, { heartRateValue: 1 }))
  pages.start()
  await until(() => pages.isTrusted)
  await query('alter table latest rename to latest_away')
  await t.rejects(ids())
  await sleep(100)
  t.ok(pages.isTrusted)
  await query('alter table latest_away rename to latest')
  t.equal(await ids(), 'a')
  t.ok(pages.isTrusted)
})

t.test('pages by id are read along the key, except deep ones', async (t) => {
  const { pages, write, writeUnseen, ids } = await startPages(t, { keyOffsetMax: 2 })
  await write(...['a', 'c', 'd', 'e'].map((device) => reading(device, 1)))
  pages.start()
  await until(() => pages.isTrusted)
  await writeUnseen(reading('b', 1))
  t.equal(await ids({ sortBy: 'deviceId', orderBy: 'asc', offset: 2 }), 'c d e', 'PostgreSQL has a device that memory lacks')
  t.equal(await ids({ sortBy: 'deviceId', orderBy: 'asc', offset: 3 }), 'e')
  t.equal(await ids({ sortBy: 'deviceId', orderBy: 'desc', offset: 3 }), 'a')
})

t.test('an erased device is removed from the order, and returns with a new reading', async (t) => {
  const { pages, write, ids, query } = await startPages(t)
  await write(reading('a', 1, { heartRateValue: 5 }), reading('b', 1, { heartRateValue: 3 }), reading('c', 1, { heartRateValue: 4 }))
  pages.start()
  await until(() => pages.isTrusted)
  await query('delete from latest where device in (\'a\', \'c\')')
  await write(reading('c', 2, { heartRateValue: 1 }))
  const forgetting = Promise.all(['a', 'c'].map((device) => pages.forget(device)))
  t.notOk(pages.isTrusted, 'in between PostgreSQL sorts')
  await forgetting
  t.ok(pages.isTrusted)
  t.equal(await ids(), 'b c')
})

t.test('with more devices than the order holds PostgreSQL sorts, until there are fewer', async (t) => {
  const { pages, write, ids, query } = await startPages(t, { devicesMax: 40 })
  const rows = Array.from({ length: 41 }, (_, n) => reading(`d${n}`, 1, { heartRateValue: n }))
  await write(...rows.slice(0, 30))
  pages.start()
  await until(() => pages.isTrusted)
  await write(...rows)
  t.notOk(pages.isTrusted)
  t.equal(await ids({ count: 3 }), 'd40 d39 d38')
  await sleep(200)
  t.notOk(pages.isTrusted)
  await query('delete from latest where device like \'d1%\'')
  await until(() => pages.isTrusted)
  t.equal(await ids({ count: 3 }), 'd40 d39 d38')
})

t.test('observing never fails a batch', async (t) => {
  const { pages, write, ids } = await startPages(t)
  pages.start()
  await until(() => pages.isTrusted)
  pages.observe([null as unknown as ReadingRow])
  t.notOk(pages.isTrusted)
  await write(reading('a', 1))
  t.equal(await ids(), 'a')
  await until(() => pages.isTrusted)
  t.equal(await ids(), 'a')
})
