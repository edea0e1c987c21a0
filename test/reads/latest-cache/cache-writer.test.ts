/** How the rows of a batch reach a real Redis. */
import { pino } from 'pino'
import t from 'tap'
import { CacheWriter } from '../../../src/reads/latest-cache/cache-writer.ts'
import { CACHE_LIMITS } from '../../../src/reads/latest-cache/limits.ts'
import { ScriptedLink, type ScriptName } from '../../../src/reads/latest-cache/scripted-link.ts'
import { NO_REDIS, startRedis } from '../../helpers/redis.ts'
import { until } from '../../helpers/until.ts'

t.test('a large batch is sent part by part, so that a page of another connection waits for one part', { skip: NO_REDIS }, async (t) => {
  const { url, client } = await startRedis(t)
  const link = new ScriptedLink({ url, name: 'test', purpose: 'latest', limits: CACHE_LIMITS, logger: pino({ level: 'silent' }) })
  t.teardown(() => { link.close() })
  link.start()
  await until(() => link.isReady)
  const parts: number[] = []
  let underWay = 0
  const observed = {
    get isReady () { return link.isReady },
    async run (script: ScriptName, ...args: Array<string | number>) {
      if (script !== 'APPLY') return await link.run(script, ...args)
      underWay++
      parts.push((args.length - 2) / 2)
      t.equal(underWay, 1)
      return await link.run(script, ...args).finally(() => { underWay-- })
    }
  }
  const fail = () => { throw new Error('Redis did not take the batch') }
  const repairs = { add: fail, addUndecided: fail, has: () => false, repair: fail }
  const writer = new CacheWriter({ link: observed, name: 'test', repairs, limits: { waitMs: 10_000, rowsPerScript: 25 } })
  const devices = Array.from({ length: 60 }, (_, n) => `band-${n}`)
  const rows = devices.map((device, n) => ({ device, version: String(n + 1), time: '1000000', heart: '60', breath: '', rest: '{}\n{}' }))
  const intent = await writer.begin(devices, 0)
  await intent.apply(rows)
  t.same(parts, [25, 25, 10])
  t.equal(await client.hlen('vital:latest:rows'), 60)
  t.equal(await client.hlen('vital:latest:intents'), 0, 'the last part drops the intent')
})
