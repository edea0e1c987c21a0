import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import type { Logger } from 'pino'
import { createDatabase } from '../db/database.ts'
import { toReadApiName } from '../db/gateway-names.ts'
import packageJson from '../package.json' with { type: 'json' }
import { createClock } from './clock.ts'
import type { Config } from './config/config.ts'
import { ConfigError } from './config/config-error.ts'
import { addDatabaseUp } from './ingest/journal/journal-metrics.ts'
import { addProcessMetrics, createMetrics } from './metrics/metrics.ts'
import { announceReady } from './operations/announce-ready.ts'
import { connectWhenever } from './operations/connect-database.ts'
import { addReadinessMetrics } from './operations/readiness.ts'
import { watchDatabase } from './operations/watch-database.ts'
import { createLifecycle } from './process/lifecycle.ts'
import { withoutIngest } from './process/without-ingest.ts'
import { loadLatestCache } from './reads/latest-cache/open-latest-cache.ts'
import { createReads } from './reads/reads.ts'
import { exposedMessage } from './security/access.ts'
import { createSecurity } from './security/security.ts'
import { createTransport } from './transport/transport.ts'

/** Of all connections to the primary: for credentials and the watch. The rest is for reads. */
const OWN_CONNECTIONS = 2

const NO_DATABASE = 'vital-gateway api needs DATABASE_URL: the PostgreSQL that gateways write to. An embedded one belongs to its gateway, ' +
  'which answers reads itself.'
const NOT_CONNECTED = 'PostgreSQL is not ready for reads; trying again each second'
const NOT_YET_READY = 'not ready until PostgreSQL answers and a gateway has made its tables; see /health/ready'

/**
 * The composition root of `vital-gateway api`: reads over HTTP and nothing else. It takes no readings, keeps no spool,
 * and changes nothing in PostgreSQL, not even its tables: a gateway of the same version makes those.
 */
export function createReadApi ({ config: given, logger }: { readonly config: Config, readonly logger: Logger }) {
  const config = withoutIngest(given)
  const applicationName = toReadApiName({ host: hostname(), pid: process.pid, id: randomBytes(6).toString('hex') })
  const lifecycle = createLifecycle()
  const { signal, onStop } = lifecycle
  const metrics = createMetrics()
  let reload: () => Promise<void> = async () => {}

  async function createParts (connectionString: string) {
    const clock = createClock({ ownMs: Date.now, monotonicMs: () => performance.now(), logger })
    const database = createDatabase({ connectionString, poolSize: OWN_CONNECTIONS, applicationName, logger })
    onStop(() => database.close())
    const reads = createReads({
      connectionString,
      createCache: await loadLatestCache(given.latestCacheUrl),
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
    return { clock, database, reads, watch }
  }

  async function startParts () {
    if (config.databaseUrl === null) throw new ConfigError(NO_DATABASE)
    for (const warning of [...config.warnings, ...config.notices]) logger.warn(warning)
    const { clock, database, reads, watch } = await createParts(config.databaseUrl)
    const transport = await createTransport({ config, applicationName, metrics, logger })
    reload = transport.reload
    const { hasClientCertificates } = transport
    const security = await createSecurity({
      ...config,
      dataDir: null,
      kysely: database.kysely,
      isProxied: config.transport.trustedProxies.length > 0,
      hasClientCertificates,
      metrics,
      logger
    })
    const isReady = () => watch.isReadable && (watch.isUp || reads.hasReplica()) && security.isAdmitting && !signal.aborted
    const warnings = () => [...config.warnings, ...[reads, watch, transport, security, clock].flatMap((source) => source.warnings())]
    const startedAtMs = clock.nowMs()
    addDatabaseUp(metrics, () => watch.isUp)
    addReadinessMetrics(metrics, () => ({ startedAtMs, warnings: warnings().length }))
    addProcessMetrics(metrics)
    const http = transport.createHttp(null, security.authenticateHttp, {
      requestsPerSecondMax: config.httpRequestsPerSecondMax,
      refusals: security.refusals,
      ...reads.routes,
      health: () => ({
        live: true, ready: isReady(), database: { status: watch.isUp ? 'up' : 'down' }, warnings: warnings()
      }),
      metrics: metrics.render,
      version: packageJson.version,
      logger
    })

    async function connect (): Promise<void> {
      await watch.check()
      await security.start()
      watch.start()
      reads.start()
    }

    onStop(async () => {
      await http.stop()
      await Promise.all([security.stop(), reads.stop()])
    })
    onStop(await connectWhenever({ connect, told: NOT_CONNECTED, signal, logger }))
    if (security.isExposed) throw new ConfigError(exposedMessage(config.host))
    await http.prepare()
    signal.throwIfAborted()
    const ports = await http.start()
    onStop(announceReady({ isReady, notYet: NOT_YET_READY, logger }))
    return ports
  }

  return {
    /** @returns once it accepts requests @throws coded errors whose message states the remedy */
    start: () => lifecycle.start(startParts),
    /** Settles when every answer that was owed is given, or given up. */
    stop: lifecycle.stop,
    /** Reads the certificates again. */
    reload: () => reload()
  }
}
