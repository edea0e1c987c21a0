import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import t from 'tap'
import { RedisLink } from '../../../broker/cluster/redis/redis-link.ts'
import { NO_REDIS, startRedis } from '../../helpers/redis.ts'
import { until } from '../../helpers/until.ts'

t.test('a pipeline rejects when Redis answers nothing, and not when Redis refuses one command', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const link = new RedisLink({
    url: redis.url,
    name: 'test',
    commandTimeoutMs: 10_000,
    connectTimeoutMs: 1000,
    onUp () {},
    onDown () {},
    logger: pino({ level: 'silent' })
  })
  t.teardown(() => { link.close() })
  link.start()
  await until(() => link.isUp, 'Redis answers')

  const [refused, taken] = await link.pipeline([['LPUSH', 'list'], ['SET', 'key', 'value']])
  t.match(refused, { message: /wrong number of arguments/ })
  t.equal(String(taken), 'OK')

  redis.freeze()
  const cut = t.rejects(link.pipeline([['SET', 'key', 'other'], ['GET', 'key']]), 'it is unknown what Redis has done')
  await sleep(50)
  await redis.kill()
  await cut
})
