import type { Logger } from 'pino'
import { createDatabase } from '../db/database.ts'
import { toReadApiName } from '../db/gateway-names.ts'
import { createClock } from './clock.ts'
import type { Config } from './config/config.ts'
import { addDatabaseUp } from './ingest/journal/journal-metrics.ts'
import { watchDatabase } from './operations/watch-database.ts'
import { loadLatestCache } from './reads/latest-cache/open-latest-cache.ts'
import { createReads } from './reads/reads.ts'
import { createService, type ServiceParts, type ServiceSurroundings } from './service.ts'

/** Of all connections to the primary: for credentials and the watch. The rest is for reads. */
const OWN_CONNECTIONS = 2

const TEXTS = {
  noDatabase: 'vital-gateway api needs DATABASE_URL: the PostgreSQL that gateways write to. An embedded one belongs to its gateway, ' +
    'which answers reads itself.',
  notConnected: 'PostgreSQL is not ready for reads; trying again each second',
  notYetReady: 'not ready until PostgreSQL answers and a gateway has made its tables; see /health/ready'
}

/**
 * The composition root of `vital-gateway api`: reads over HTTP and nothing else. It takes no readings, keeps no spool,
 * and changes nothing in PostgreSQL, not even its tables: a gateway of the same version makes those.
 */
export function createReadApi ({ config, logger }: { readonly config: Config, readonly logger: Logger }) {
  return createService({ config, logger, toName: toReadApiName, texts: TEXTS, createParts })
}

async function createParts (
  { config, connectionString, applicationName, lifecycle, metrics, logger }: ServiceSurroundings
): Promise<ServiceParts> {
  const { onStop } = lifecycle
  const clock = createClock({ ownMs: Date.now, monotonicMs: () => performance.now(), logger })
  const database = createDatabase({ connectionString, poolSize: OWN_CONNECTIONS, applicationName, logger })
  onStop(() => database.close())
  const reads = createReads({
    connectionString,
    createCache: await loadLatestCache(config.latestCacheUrl),
    isWriter: false,
    replicaUrls: config.replicaUrls,
    connectionsMax: Math.max(1, config.databaseConnectionsMax - OWN_CONNECTIONS),
    applicationName,
    isPooled: () => database.isPooled,
    clock,
    metrics,
    logger
  })
  onStop(() => reads.close())
  const watch = watchDatabase({ database, clock, logger })
  onStop(() => watch.stop())
  addDatabaseUp(metrics, () => watch.isUp)
  return {
    database,
    clock,
    isReady: (isAdmitting) => watch.isReadable && (watch.isUp || reads.hasReplica()) && isAdmitting,
    health: () => ({ database: { status: watch.isUp ? 'up' : 'down' } }),
    sources: [reads, watch, clock],
    routes: reads.routes,
    prepare: watch.check,
    start () {
      watch.start()
      reads.start()
    },
    stop: reads.stop
  }
}
