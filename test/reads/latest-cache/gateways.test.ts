/** Gateways with one PostgreSQL and a copy of the latest states in one Redis. */
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import t from 'tap'
import { createConfig } from '../../../src/config/config.ts'
import { createReadApi } from '../../../src/read-api.ts'
import { startGateway } from '../../helpers/gateway.ts'
import { spawnGateway } from '../../helpers/gateway-process.ts'
import { createTestDatabase, createTestDir } from '../../helpers/postgres.ts'
import { NO_REDIS, startRedis } from '../../helpers/redis.ts'
import { until } from '../../helpers/until.ts'
import { isTrusted, post, readMetric, readPage, SORTS, startCached, untilTrusted } from './gateways.ts'

const SKIP = { skip: NO_REDIS, timeout: 120_000 }

t.test('VITAL_LATEST_CACHE=redis needs REDIS_URL', (t) => {
  t.throws(() => createConfig({ VITAL_LATEST_CACHE: 'redis' }), /VITAL_LATEST_CACHE=redis needs REDIS_URL/)
  t.equal(createConfig({ REDIS_URL: 'redis://127.0.0.1:1' }).latestCacheUrl, null)
  t.end()
})

t.test('a page at either gateway has the reading that the other has just acknowledged', SKIP, async (t) => {
  const redis = await startRedis(t)
  const { connectionString } = await createTestDatabase(t)
  const gateways = [await startCached(t, connectionString, redis.url), await startCached(t, connectionString, redis.url)]
  const [a, b] = gateways as [typeof gateways[0], typeof gateways[0]]
  await untilTrusted(a, b)
  const before = await readMetric(b, 'vital_latest_cache_pages_total')
  for (let round = 1; round <= 40; round++) {
    const [writer, reader] = round % 2 === 0 ? [a, b] : [b, a]
    await post(writer, { device: `d${round % 7}`, timestamp: 1_750_000_000 + round, heartRateValue: 50 + round })
    for (const gateway of [writer, reader]) {
      const [top] = (await readPage(gateway, 'sortBy=heartRate&orderBy=desc&count=1')).resources
      t.match(top, { deviceId: `d${round % 7}`, heartRate: 50 + round }, `round ${round}`)
    }
  }
  t.ok(await readMetric(b, 'vital_latest_cache_pages_total') - before > 30, 'from Redis')
  for (const sortBy of SORTS) t.equal((await readPage(a, `sortBy=${sortBy}`)).total, 7)
  t.equal(await redis.client.hlen('vital:latest:intents'), 0, 'no intent is left')
  await b.stop()
  await until(() => isTrusted(a), 'also without the other')
})

t.test('a gateway that is killed between COMMIT and Redis: another one repairs its devices', SKIP, async (t) => {
  const redis = await startRedis(t)
  const { connectionString, query } = await createTestDatabase(t)
  const b = await startCached(t, connectionString, redis.url)
  const variables = { DATABASE_URL: connectionString, REDIS_URL: redis.url, VITAL_LATEST_CACHE: 'redis' }
  const a = await spawnGateway(t, variables, { program: 'test/reads/latest-cache/killed-gateway.ts' })
  await a.said(/^ready$/)
  const httpUrl = `http://127.0.0.1:${a.lines.find(({ protocol }) => protocol === 'http')!.port}`
  await post({ httpUrl }, [{ device: 'a', timestamp: 1, heartRateValue: 1 }, { device: 'b', timestamp: 1, heartRateValue: 1 }])
  await untilTrusted(b)
  const readings = ['a', 'kill', 'new'].map((device) => ({ device, timestamp: 2, heartRateValue: 2 }))
  await post({ httpUrl }, readings).catch(() => {})
  await a.exited
  const killedAtMs = performance.now()
  t.equal((await query<{ n: string }>('select count(*) as n from latest where heart_rate = 2'))[0]?.n, '3', 'committed')
  const rates = async () => (await readPage(b, 'sortBy=deviceId&orderBy=asc')).resources
    .map(({ deviceId, heartRate }) => `${deviceId} ${heartRate}`).join()
  await until(async () => await rates() === 'a 2,b 1,kill 2,new 2', 'the page of the other gateway to be right')
  t.comment(`right ${Math.round(performance.now() - killedAtMs)} ms after the kill`)
  const kept = Object.keys(await redis.client.hgetall('vital:latest:rows'))
  t.strictSame(kept.sort(), ['a', 'b', 'kill', 'new'], 'in Redis, too')
  t.equal(await redis.client.hlen('vital:latest:intents'), 0)
  t.equal(await readMetric(b, 'vital_latest_cache_repaired_total'), 3)
  await until(async () => await redis.client.hlen('vital:latest:gateways') === 1, 'the dead gateway to be forgotten')
  await untilTrusted(b)
})

t.test('erasing at one gateway: neither the pages of the other nor Redis have the device', SKIP, async (t) => {
  const redis = await startRedis(t)
  const { connectionString } = await createTestDatabase(t)
  const [a, b] = [await startCached(t, connectionString, redis.url), await startCached(t, connectionString, redis.url)]
  await untilTrusted(a, b)
  await post(a, ['x', 'y'].map((device) => ({ device, timestamp: 1, heartRateValue: 1, note: 'secret' })))
  t.equal((await readPage(b, 'sortBy=timestamp')).total, 2)
  t.equal((await fetch(`${a.httpUrl}/vital-data/x`, { method: 'DELETE' })).status, 200)
  for (const gateway of [a, b]) {
    for (const sortBy of SORTS) {
      const page = await readPage(gateway, `sortBy=${sortBy}`)
      t.strictSame([page.total, page.resources.map(({ deviceId }) => deviceId)], [1, ['y']], sortBy)
    }
  }
  t.match(await redis.client.hget('vital:latest:rows', 'x'), /^\d+$/, 'nothing but a tombstone')
  await post(b, { device: 'x', timestamp: 5 })
  t.equal((await readPage(a, 'sortBy=timestamp&orderBy=desc')).resources[0]?.deviceId, 'x')
})

t.test('cursors of a page from Redis continue in PostgreSQL; filters and positions are answered there', SKIP, async (t) => {
  const redis = await startRedis(t)
  const { connectionString } = await createTestDatabase(t)
  const [a, b] = [await startCached(t, connectionString, redis.url), await startCached(t, connectionString, redis.url)]
  await post(a, Array.from({ length: 25 }, (_, n) => ({
    device: `d${n % 10}-${n}`, timestamp: 1000 + n % 5, ...n % 3 > 0 && { heartRateValue: n % 4 }
  })))
  await untilTrusted(a, b)
  await sleep(300)
  for (const sortBy of SORTS) {
    for (const orderBy of ['asc', 'desc']) {
      const query = `sortBy=${sortBy}&orderBy=${orderBy}&count=7`
      const before = await readMetric(b, 'vital_latest_cache_pages_total')
      const found: string[] = []
      let cursor: string | null = null
      do {
        const page: Awaited<ReturnType<typeof readPage>> = await readPage(b, cursor === null ? query : `${query}&cursor=${cursor}`)
        found.push(...page.resources.map(({ deviceId }) => deviceId))
        cursor = page.next
      } while (cursor !== null)
      t.equal(new Set(found).size, 25, query)
      t.equal(await readMetric(b, 'vital_latest_cache_pages_total') - before, 1, 'the first page')
      const [whole, prefixed] = [await readPage(b, `${query.replace('7', '100')}`), await readPage(b, `${query}&prefix=d3-`)]
      t.strictSame(whole.resources.map(({ deviceId }) => deviceId), found, query)
      t.equal(prefixed.total, 3)
    }
  }
})

t.test('vital-gateway api reads the copy, but not where no gateway maintains it', SKIP, async (t) => {
  const redis = await startRedis(t)
  const { connectionString } = await createTestDatabase(t)
  const gateway = await startCached(t, connectionString, redis.url)
  await untilTrusted(gateway)
  const config = createConfig({
    DATABASE_URL: connectionString,
    REDIS_URL: redis.url,
    VITAL_LATEST_CACHE: 'redis',
    VITAL_HTTP_PORT: '0',
    VITAL_DATA_DIR: await createTestDir(t)
  })
  const api = createReadApi({ config, logger: pino({ level: 'silent' }) })
  t.teardown(() => api.stop())
  const reader = { httpUrl: `http://127.0.0.1:${(await api.start()).port}` }
  await untilTrusted(reader)
  await post(gateway, { device: 'a', timestamp: 1, heartRateValue: 1 })
  t.equal((await readPage(reader, 'sortBy=heartRate')).total, 1)
  t.equal(await readMetric(reader, 'vital_latest_cache_pages_total'), 1)
  await gateway.stop()
  await until(async () => !await isTrusted(reader))
  t.equal((await readPage(reader, 'sortBy=heartRate')).total, 1, 'from PostgreSQL')
})

t.test('a gateway without the copy beside one with it: pages come from PostgreSQL, and readiness says why', SKIP, async (t) => {
  const redis = await startRedis(t)
  const { connectionString } = await createTestDatabase(t)
  const a = await startCached(t, connectionString, redis.url)
  await untilTrusted(a)
  const plain = await startGateway(t, { DATABASE_URL: connectionString })
  await until(async () => !await isTrusted(a))
  await post(plain, { device: 'unseen', timestamp: 1 })
  t.equal((await readPage(a, 'sortBy=timestamp')).total, 1)
  const health = await (await fetch(`${a.httpUrl}/health/ready`)).json() as { warnings: string[] }
  t.match(health.warnings.join(), /does not write latest states to Redis/)
  await sleep(3000)
  await plain.stop()
  await untilTrusted(a)
  t.equal((await readPage(a, 'sortBy=timestamp')).total, 1, 'and its readings are in the copy')
})
