/** Requests of one principal, or of one address, count at all gateways together. */
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { startGateway } from '../helpers/gateway.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { NO_REDIS, startRedis } from '../helpers/redis.ts'
import { until } from '../helpers/until.ts'

const PER_SECOND = 5
const BURST = 2 * PER_SECOND

async function ask (url: string, times: number): Promise<number> {
  let passed = 0
  for (let index = 0; index < times; index++) if ((await fetch(`${url}/vital-data`)).status === 200) passed++
  return passed
}

t.test('requests that another gateway has answered count, and without Redis only those of this one', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const { connectionString } = await createTestDatabase(t)
  const variables = {
    DATABASE_URL: connectionString, REDIS_URL: redis.url, VITAL_HTTP_REQUESTS_PER_SECOND_MAX: String(PER_SECOND)
  }
  const [one, two] = [await startGateway(t, variables), await startGateway(t, variables)]
  t.ok(await ask(one.httpUrl, BURST) >= BURST - 2, 'a burst passes')
  // A gateway learns of them within a tenth of a second.
  await until(async () => {
    const [key = ''] = await redis.client.keys('vital:rate:http:*')
    return Number((await redis.client.get(key))?.split(' ')[0]) < PER_SECOND
  }, 'the requests to be counted in Redis')
  t.ok(await ask(two.httpUrl, BURST) <= PER_SECOND, 'and the other gateway has no burst left')
  await sleep(BURST / PER_SECOND * 1000)
  t.ok(await ask(two.httpUrl, BURST) > PER_SECOND, 'later it has')
  await redis.kill()
  await sleep(BURST / PER_SECOND * 1000)
  t.ok(await ask(one.httpUrl, BURST) > PER_SECOND)
  t.ok(await ask(two.httpUrl, BURST) > PER_SECOND, 'without Redis each gateway counts by itself')
})
