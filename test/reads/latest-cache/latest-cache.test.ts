/** The copy of `latest` in a real Redis, beside a real PostgreSQL. */
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { LatestSearch } from '../../../db/queries/latest-search.ts'
import { selectLatestSorted } from '../../../db/queries/select-latest-sorted.ts'
import { createRandom } from '../../helpers/random.ts'
import { createTestDatabase } from '../../helpers/postgres.ts'
import { NO_REDIS, startCable, startRedis } from '../../helpers/redis.ts'
import { until } from '../../helpers/until.ts'
import { createReadings, ORDERS, reading, SORTS, toText } from '../latest-order/pages.ts'
import type { CachedPage } from '../../../src/reads/latest-cache/cached-page.ts'
import { startCache, type StartedCache } from './cached-pages.ts'

const SKIP = { skip: NO_REDIS, timeout: 120_000 }
/** Runs of random writes. */
const RUNS = Number(process.env['LATEST_RUNS'] ?? 1)
const ALL = { sortBy: 'deviceId', orderBy: 'asc', offset: 0, count: 100 } as const

/** Waits for the first page from the copy. While the copy is not trusted, PostgreSQL answers instead. */
async function firstPage ({ cache }: StartedCache, search: LatestSearch = ALL): Promise<CachedPage> {
  let page = null as CachedPage | null
  await until(async () => (page = await cache.page(search)) !== null, 'a page')
  return page!
}

async function comparePages (t: Test, started: StartedCache, offsets: readonly number[], count: number): Promise<void> {
  const { kysely } = started.database
  for (const sortBy of SORTS) {
    for (const orderBy of ORDERS) {
      for (const offset of offsets) {
        const query = { sortBy, orderBy, offset, count }
        const [ours, theirs] = [await firstPage(started, query), await selectLatestSorted(kysely, query)]
        // Rows too large for Redis are fetched from PostgreSQL, and so are rows there that are too large for a page.
        const large = new Set(ours.resources.flatMap(({ deviceId, vitals }) => vitals === null ? [deviceId] : []))
        const expected = {
          ...theirs,
          resources: theirs.resources.map((row) => large.has(row.deviceId) ? { ...row, vitals: null, vitalTimestamps: null } : row)
        }
        if (toText(ours) !== toText(expected) || (ours.end === null) === theirs.hasMore) t.same(ours, expected, JSON.stringify(query))
      }
    }
  }
}

const idsOf = async (started: StartedCache) => (await firstPage(started)).resources.map(({ deviceId }) => deviceId).join(' ')

t.test('pages equal those of PostgreSQL, for any writes in any order, by two gateways at once', SKIP, async (t) => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000)
  t.comment(`SEED=${seed}`)
  const redis = await startRedis(t)
  for (let run = 0; run < RUNS; run++) {
    await redis.client.flushall()
    const random = createRandom(seed + run)
    const next = createReadings(random)
    const some = () => Array.from({ length: 1 + Math.floor(random() * 8) }, next)
    const { connectionString } = await createTestDatabase(t)
    const a = await startCache(t, connectionString, redis.url)
    // Some writes while the copy is filled.
    for (let n = 0; n < 5; n++) await a.write(...some())
    const b = await startCache(t, connectionString, redis.url)
    await Promise.all([a, b].map(async ({ write }) => { for (let n = 0; n < 10; n++) await write(...some()) }))
    for (let n = 0; n < 6; n++) {
      await Promise.all([a, b, a, b].map(({ write }) => write(...some())))
      await a.untilTrusted()
      await comparePages(t, a, Array.from({ length: 23 }, (_, offset) => offset), 1 + Math.floor(random() * 7))
    }
    await Promise.all([a.stop(), b.stop()])
  }
})

t.test('pages of a few thousand devices, large rows among them, and an empty copy that is filled', SKIP, async (t) => {
  const redis = await startRedis(t)
  const { connectionString } = await createTestDatabase(t)
  const rows = Array.from({ length: 3500 }, (_, n) => reading(`band-${n * 7919 % 9001}`, 1_000_000 * (n % 300), {
    ...n % 3 > 0 && { heartRateValue: n % 50 }, ...n > 3490 && { breathValue: 12, note: 'x'.repeat(200 * (n - 3490)) }
  }))
  const first = await startCache(t, connectionString, redis.url)
  await first.untilTrusted()
  await first.write(...rows)
  await first.untilTrusted()
  await comparePages(t, first, [0, 1, 19, 100, 1150, 2333, 3480, 3500], 20)
  // Redis counts them once a beat.
  await until(async () => await first.metric('devices') === 3500, 'the metric to count the devices')
  await redis.kill()
  await redis.start({ empty: true })
  await until(() => !first.cache.isTrusted, 'the empty Redis to be noticed')
  await first.untilTrusted()
  t.equal((await firstPage(first)).total, 3500)
  const isWhole = (text: string) => text.split('\n')[5] !== ''
  const [small, large] = await Promise.all([rows[0]!, rows[3499]!].map(({ device }) => redis.client.hget('vital:latest:rows', device)))
  t.equal(isWhole(small!), true)
  t.equal(isWhole(large!), false, 'large values stay in PostgreSQL')
  await comparePages(t, first, [0, 1150, 3480], 100)
})

t.test('an older row never replaces a newer one: COMMITs of two gateways reach Redis in the reverse order', SKIP, async (t) => {
  const redis = await startRedis(t)
  const { connectionString } = await createTestDatabase(t)
  let release = () => {}
  const held = new Promise<void>((resolve) => { release = resolve })
  let isHeld = false
  const slow = await startCache(t, connectionString, redis.url, { onCommitted: () => isHeld ? held : undefined })
  const quick = await startCache(t, connectionString, redis.url)
  await quick.untilTrusted()
  isHeld = true
  const older = slow.write(reading('a', 1_000_000, { heartRateValue: 1 }))
  await until(async () => (await selectLatestSorted(slow.database.kysely, ALL)).total === 1, 'committed')
  await quick.write(reading('a', 2_000_000, { heartRateValue: 2 }))
  const before = await redis.client.hget('vital:latest:rows', 'a')
  release()
  await older
  t.equal(await redis.client.hget('vital:latest:rows', 'a'), before)
  t.equal((await firstPage(quick)).resources[0]?.heartRate, 2)
})

t.test('an erased device does not come back, although an older batch reaches Redis after its erasure', SKIP, async (t) => {
  const redis = await startRedis(t)
  const { connectionString, query } = await createTestDatabase(t)
  let release = () => {}
  const held = new Promise<void>((resolve) => { release = resolve })
  const slow = await startCache(t, connectionString, redis.url, { onCommitted: (devices) => devices.includes('b') ? held : undefined })
  const other = await startCache(t, connectionString, redis.url)
  await other.untilTrusted()
  await other.write(reading('a', 1), reading('c', 1))
  const late = slow.write(reading('a', 2), reading('b', 2))
  await until(async () => (await selectLatestSorted(slow.database.kysely, ALL)).total === 3, 'committed')
  await other.cache.aroundErasure('a', () => query('delete from latest where device = \'a\''))
  // Without a page of the copy PostgreSQL answers: the copy is not trusted while the other write takes long.
  const page = await other.cache.page(ALL)
  // The reading of the other write may be there already.
  const others = page?.resources.map(({ deviceId }) => deviceId).filter((device) => device !== 'b') ?? ['c']
  t.same(others, ['c'], 'at once')
  release()
  await late
  await other.untilTrusted()
  t.equal(await idsOf(other), 'b c')
  t.match(await redis.client.hget('vital:latest:rows', 'a'), /^\d+$/, 'a tombstone')
  await other.write(reading('a', 3))
  t.equal(await idsOf(other), 'a b c', 'a later reading is kept')
})

t.test('Redis frozen and away: batches are stored, pages come from PostgreSQL, and the copy is right when it is back', SKIP, async (t) => {
  const redis = await startRedis(t)
  const { connectionString } = await createTestDatabase(t)
  const gateway = await startCache(t, connectionString, redis.url, { limits: { commandTimeoutMs: 400, connectTimeoutMs: 400 } })
  await gateway.untilTrusted()
  let time = 0
  const write = () => gateway.write(reading(`d${++time}`, time))
  await write()
  for (const [go, back] of [[redis.freeze, redis.thaw], [redis.kill, redis.start]] as const) {
    await go()
    for (let n = 0; n < 5; n++) await write()
    t.equal(await gateway.cache.page(ALL), null)
    await until(() => gateway.cache.warnings().some((warning) => warning.startsWith('Redis has not answered')), 'readiness to say so')
    for (let n = 0; n < 20; n++) await write()
    await back()
    await gateway.untilTrusted()
    t.equal((await firstPage(gateway)).total, time)
    t.strictSame(gateway.cache.warnings(), [])
    await until(async () => await redis.client.hlen('vital:latest:intents') === 0, 'no intent to be left')
  }
  await comparePages(t, gateway, [0, 20], 30)
})

t.test('others do not trust the copy while a gateway is cut off from Redis, until it has repaired its rows', SKIP, async (t) => {
  const redis = await startRedis(t)
  const { connectionString } = await createTestDatabase(t)
  const cable = await startCable(t, redis.port)
  const cutOff = await startCache(t, connectionString, cable.url)
  const other = await startCache(t, connectionString, redis.url)
  await Promise.all([cutOff.untilTrusted(), other.untilTrusted()])
  await other.write(reading('a', 1))
  cable.cut()
  await cutOff.write(reading('b', 1))
  await until(() => !other.cache.isTrusted, 'the gateway to be missed', 10_000)
  t.match(other.cache.warnings()[0], /^vital-gateway test:\d+ does not write latest states to Redis/)
  cable.mend()
  await other.untilTrusted()
  t.equal(await idsOf(other), 'a b')
})

t.test('changes by others are found: by hand, by a gateway without a copy, and before any gateway started', SKIP, async (t) => {
  const redis = await startRedis(t)
  const { connectionString, query } = await createTestDatabase(t)
  const plain = await startCache(t, connectionString, redis.url)
  await plain.untilTrusted()
  await plain.write(...['a', 'b', 'c'].map((device, index) => reading(device, 1_000_000, { heartRateValue: index })))
  await plain.stop()
  await query('update latest set heart_rate = 9, vitals = \'{"heartRateValue": 9}\' where device = \'a\'')
  await query('delete from latest where device = \'b\'')
  const gateway = await startCache(t, connectionString, redis.url, { limits: { compareIntervalMs: 300 } })
  await gateway.untilTrusted()
  await until(async () => await idsOf(gateway) === 'a c', 'changes from before the start')
  await comparePages(t, gateway, [0], 5)
  await query('delete from latest where device = \'c\'')
  await until(async () => await idsOf(gateway) === 'a', 'a change by hand')
  await query('truncate latest')
  await until(async () => await idsOf(gateway) === '')
})

t.test('another PostgreSQL, or an older state of this one: the copy is rebuilt', SKIP, async (t) => {
  const redis = await startRedis(t)
  const first = await createTestDatabase(t)
  const gateway = await startCache(t, first.connectionString, redis.url)
  await gateway.untilTrusted()
  await gateway.write(reading('a', 1))
  // As after a restore: Redis has versions that this PostgreSQL has not reached.
  await redis.client.set('vital:latest:newest', '9007199254740991')
  await redis.client.hset('vital:latest:rows', 'a', '9007199254740991\n1000000\n\n\n{}\n{}')
  await until(() => !gateway.cache.isTrusted)
  await gateway.untilTrusted()
  await gateway.write(reading('a', 2_000_000, { heartRateValue: 5 }))
  t.equal((await firstPage(gateway)).resources[0]?.heartRate, 5)
  await gateway.stop()
  const second = await createTestDatabase(t)
  const other = await startCache(t, second.connectionString, redis.url)
  await other.untilTrusted()
  t.equal(await idsOf(other), '')
})

t.test('the copy is not in the append-only file, and a Redis that starts again is filled before it is read', SKIP, async (t) => {
  const redis = await startRedis(t)
  const { connectionString, query } = await createTestDatabase(t)
  const gateway = await startCache(t, connectionString, redis.url)
  await gateway.untilTrusted()
  await gateway.write(reading('a', 1_000_000, { heartRateValue: 1 }), reading('b', 1_000_000))
  await firstPage(gateway)
  // The current rows are in the base of the file from here on, as after any rewrite.
  await redis.client.bgrewriteaof()
  const infoOf = async (name: string) => new RegExp(`^${name}:(\\d+)`, 'm').exec(await redis.client.info('persistence'))?.[1]
  await until(async () => await infoOf('aof_rewrite_scheduled') === '0' && await infoOf('aof_rewrite_in_progress') === '0', 'rewritten')
  const before = Number(await infoOf('aof_current_size'))
  for (let n = 2; n < 200; n++) await gateway.write(reading('a', n * 1_000_000, { heartRateValue: n }))
  await gateway.cache.aroundErasure('b', () => query('delete from latest where device = \'b\''))
  t.equal((await firstPage(gateway)).resources[0]?.heartRate, 199)
  // Each of 198 rows would take 500 bytes. Only small keys, such as the turn of a comparison, are written.
  t.ok(Number(await infoOf('aof_current_size')) - before < 4096, 'no row is in the file')
  await redis.kill()
  await redis.start()
  t.match(await redis.client.hget('vital:latest:rows', 'a'), /^\d+\n1000000\n1\n/, 'the file has the older state')
  t.equal(await redis.client.hexists('vital:latest:rows', 'b'), 1)
  t.same((await firstPage(gateway)).resources.map(({ deviceId, heartRate }) => [deviceId, heartRate]), [['a', 199]])
})

t.test('pages are not read from another Redis than rows are written to', SKIP, async (t) => {
  const [redis, other] = [await startRedis(t), await startRedis(t)]
  const { connectionString } = await createTestDatabase(t)
  const cable = await startCable(t, redis.port)
  const gateway = await startCache(t, connectionString, cable.url)
  await gateway.untilTrusted()
  await gateway.write(reading('a', 1))
  t.equal(await idsOf(gateway), 'a')
  // A copy of the first one, with the mark that it is complete, as a replica has it.
  await other.client.replicaof('127.0.0.1', redis.port)
  await until(async () => await other.client.hexists('vital:latest:rows', 'a') === 1, 'replicated')
  await other.client.replicaof('NO', 'ONE')
  cable.lead(other.port)
  const clients = await redis.client.call('CLIENT', 'LIST') as string
  const id = clients.split('\n').find((line) => line.includes('-pages'))?.match(/^id=(\d+)/)?.[1]
  await redis.client.call('CLIENT', 'KILL', 'ID', id!)
  await until(async () => (await other.client.call('CLIENT', 'LIST') as string).includes('-pages'), 'pages to be asked of the other Redis')
  await gateway.write(reading('b', 1))
  for (let n = 0; n < 20; n++) {
    t.equal(await gateway.cache.page(ALL), null)
    await sleep(20)
  }
})

t.test('behind a pooler the copy is not used, because other gateways could not be seen', SKIP, async (t) => {
  const redis = await startRedis(t)
  const { connectionString } = await createTestDatabase(t)
  const gateway = await startCache(t, connectionString, redis.url, { isPooled: () => true })
  await until(async () => await redis.client.exists('vital:latest:complete') === 1)
  await sleep(300)
  t.equal(await gateway.cache.page(ALL), null)
  t.match(gateway.cache.warnings()[0], /behind a pooler/)
})

t.test('after many rows are added by hand the copy is rebuilt at once', SKIP, async (t) => {
  const redis = await startRedis(t)
  const { connectionString, query } = await createTestDatabase(t)
  const gateway = await startCache(t, connectionString, redis.url, { limits: { differenceMax: 100 } })
  await gateway.untilTrusted()
  await query(`insert into latest (device, time, oldest_time, vitals, vital_times)
    select 'd' || n, to_timestamp(n), to_timestamp(n), '{}', '{}' from generate_series(1, 500) n`)
  await until(() => !gateway.cache.isTrusted)
  await gateway.untilTrusted()
  t.equal((await firstPage(gateway)).total, 500)
})
