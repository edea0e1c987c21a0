import { pino } from 'pino'
import type { Test } from 'tap'
import { createDatabase } from '../../../db/database.ts'
import { createStore } from '../../../db/store.ts'
import type { ReadingRow } from '../../../db/rows.ts'
import { createMetrics } from '../../../src/metrics/metrics.ts'
import { createLatestCache, type LatestCacheOptions } from '../../../src/reads/latest-cache/latest-cache.ts'
import { createReadBudget } from '../../../src/reads/read-budget.ts'
import { until } from '../../helpers/until.ts'

let gateways = 0

/** The parts of a gateway that keep the copy in Redis. */
export async function startCache (
  t: Test, connectionString: string, url: string, options: Partial<LatestCacheOptions> & { readonly poolSize?: number } = {}
) {
  const name = `vital-gateway test:${++gateways}`
  const logger = pino({ level: process.env['LOG'] ?? 'silent' })
  const database = createDatabase({ connectionString, poolSize: options.poolSize ?? 6, logger, applicationName: name })
  const budget = createReadBudget({ kysely: database.kysely, queriesMax: 3 })
  const metrics = createMetrics()
  const cache = createLatestCache({
    url, name, isWriter: true, budget, isPooled: () => false, metrics, logger, ...options
  })
  cache.open()
  // A connection whose name tells PostgreSQL of the gateway.
  await database.pool.query('select 1')
  cache.start()
  let stopped: Promise<void> | undefined
  const stop = () => {
    stopped ??= cache.stop().then(() => cache.close()).then(() => database.close())
    return stopped
  }
  t.teardown(stop)
  const store = createStore({ ...database, copy: cache.copy })
  return {
    name,
    cache,
    database,
    stop,
    metric: async (metric: string) => Number(new RegExp(`^vital_latest_cache_${metric} (.*)$`, 'm').exec(await metrics.render())?.[1]),
    write: (...rows: ReadingRow[]) => store.write(rows, []),
    untilTrusted: () => until(() => cache.isTrusted, 'the copy to be trusted', 30_000)
  }
}

export type StartedCache = Awaited<ReturnType<typeof startCache>>
