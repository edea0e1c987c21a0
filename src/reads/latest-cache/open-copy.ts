import type { Logger } from 'pino'
import type { Database } from '../../../db/database.ts'
import type { Metrics } from '../../metrics/metrics.ts'
import { createReadBudget } from '../read-budget.ts'
import { loadLatestCache } from './open-latest-cache.ts'

/** The copy reads states again now and then; more queries at a time would take connections from batches. */
const QUERIES_MAX = 1

/**
 * The copy of the latest states in Redis for a process that stores readings and answers no reads.
 * @param options.url - of Redis; `null`: no copy
 * @throws `ConfigError` where Redis' client is not installed
 */
export async function openCopy ({ url, name, database, metrics, logger }: {
  readonly url: string | null, readonly name: string, readonly database: Database, readonly metrics: Metrics, readonly logger: Logger
}) {
  const createCache = await loadLatestCache(url)
  if (createCache === null) return null
  const budget = createReadBudget({ kysely: database.kysely, queriesMax: QUERIES_MAX })
  const cache = createCache({ name, isWriter: true, budget, isPooled: () => database.isPooled, metrics, logger })
  cache.open()
  return cache
}
