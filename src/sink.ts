import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { hostname } from 'node:os'
import type { Logger } from 'pino'
import { createDatabase } from '../db/database.ts'
import { toSinkName } from '../db/gateway-names.ts'
import { createStore } from '../db/store.ts'
import packageJson from '../package.json' with { type: 'json' }
import { createClock } from './clock.ts'
import type { Config } from './config/config.ts'
import { ConfigError } from './config/config-error.ts'
import { DeadLetterCaps } from './ingest/dead-letter-caps.ts'
import { INGEST_LIMITS } from './ingest/limits.ts'
import { Ledger } from './ingest/ledger.ts'
import { createRefusedLetters } from './ingest/journal/refused-letters.ts'
import { loadKafkaClient } from './kafka/load-client.ts'
import { TOPICS } from './kafka/topics.ts'
import { addProcessMetrics, createMetrics } from './metrics/metrics.ts'
import { announceReady } from './operations/announce-ready.ts'
import { connectWhenever } from './operations/connect-database.ts'
import { addReadinessMetrics } from './operations/readiness.ts'
import { watchDatabase } from './operations/watch-database.ts'
import { withoutIngest } from './process/without-ingest.ts'
import { createLifecycle } from './process/lifecycle.ts'
import { openCopy } from './reads/latest-cache/open-copy.ts'
import { exposedMessage } from './security/access.ts'
import { createSecurity } from './security/security.ts'
import { SINK_LIMITS, type SinkLimits } from './sink/limits.ts'
import { createReader } from './sink/reader.ts'
import { addSinkMetrics, addStoringMetrics } from './sink/sink-metrics.ts'
import { Storing } from './sink/storing.ts'
import { createUpkeep } from './sink/upkeep.ts'
import { createTransport } from './transport/transport.ts'

const NO_DATABASE = 'vital-gateway sink needs DATABASE_URL: the PostgreSQL that all sinks write to.'
const NO_KAFKA = 'vital-gateway sink needs KAFKA_BROKERS: the Kafka that gateways write to (VITAL_JOURNAL=kafka).'
const NOT_CONNECTED = 'PostgreSQL does not answer; records wait in Kafka until it does'
const NOT_YET_READY = 'not ready until PostgreSQL and the consumer group answer; see /health/ready'

export interface SinkOptions {
  readonly config: Config
  readonly logger: Logger
  /** Other bounds, for tests. */
  readonly limits?: Partial<SinkLimits>
}

/** The composition root of `vital-gateway sink`: from Kafka into PostgreSQL, with metrics and health over HTTP. */
export function createSink ({ config: given, logger, limits: changed = {} }: SinkOptions) {
  const config = withoutIngest(given)
  const limits = { ...SINK_LIMITS, ...changed }
  const applicationName = toSinkName({ host: hostname(), pid: process.pid, id: randomBytes(6).toString('hex') })
  const lifecycle = createLifecycle()
  const { signal, onStop } = lifecycle
  const metrics = createMetrics()
  const ledger = new Ledger()
  let reload: () => Promise<void> = async () => {}

  async function createParts (connectionString: string) {
    if (config.kafka === null) throw new ConfigError(NO_KAFKA)
    const client = await loadKafkaClient('vital-gateway sink')
    const clock = createClock({ ownMs: Date.now, monotonicMs: () => performance.now(), logger })
    const database = createDatabase({
      connectionString,
      poolSize: config.databaseConnectionsMax,
      statementTimeoutMs: limits.statementTimeoutMs,
      queryTimeoutMs: limits.statementTimeoutMs + 1000,
      applicationName,
      logger
    })
    onStop(() => database.close())
    const copy = await openCopy({ url: given.latestCacheUrl, name: applicationName, database, metrics, logger })
    if (copy !== null) onStop(() => copy.close())
    await mkdir(config.dataDir, { recursive: true, mode: 0o700 })
    const refusedLetters = createRefusedLetters({ dataDir: config.dataDir, logger })
    const { deadLetterBytesMax } = INGEST_LIMITS
    const caps = new DeadLetterCaps({ ...config, deadLetterBytesMax }, (warning) => { logger.warn(warning) })
    const storing = {
      store: createStore({ ...database, copy: copy?.copy ?? null }), refusedLetters, caps, ledger, readingsMax: config.batchReadingsMax
    }
    const reader = await createReader({
      client,
      config: config.kafka,
      group: config.sinkGroup,
      name: applicationName,
      kysely: database.kysely,
      topics: TOPICS,
      createStorage: (wiring) => new Storing({
        ...wiring, ...storing, onBatch: (batch) => { observeBatch(batch) }, limits, logger
      }),
      bytesMax: config.bufferBytesMax,
      limits,
      logger
    })
    const observeBatch = addStoringMetrics(metrics, () => ({
      ledger, caps, pending: reader.storing.pending, isDatabaseUp: reader.storing.isUp && watch.isUp
    }))
    addSinkMetrics(metrics, () => ({
      isMember: reader.isMember,
      partitions: reader.partitions,
      partitionBytesMax: limits.partitionBytesMax,
      nowMs: Date.now(),
      monotonicMs: performance.now(),
      rebalances: reader.rebalances,
      replaced: reader.storing.replaced,
      rejoins: reader.rejoins
    }))
    const watch = watchDatabase({ database, clock, logger })
    onStop(() => watch.stop())
    return { clock, database, copy, caps, refusedLetters, reader, watch }
  }

  async function startParts () {
    if (config.databaseUrl === null) throw new ConfigError(NO_DATABASE)
    for (const warning of [...config.warnings, ...config.notices]) logger.warn(warning)
    const parts = await createParts(config.databaseUrl)
    const { clock, database, copy, caps, refusedLetters, reader, watch } = parts
    const isSaturated = () => reader.storing.isBusy
    const upkeep = createUpkeep({
      ...parts, connectionString: config.databaseUrl, name: applicationName, isSaturated, signal, metrics, logger
    })
    const transport = await createTransport({ config, applicationName, metrics, logger })
    reload = transport.reload
    const { hasClientCertificates } = transport
    const isProxied = config.transport.trustedProxies.length > 0
    const security = await createSecurity({
      ...config, dataDir: null, kysely: database.kysely, isProxied, hasClientCertificates, metrics, logger
    })
    const isReady = () => watch.isReadable && watch.isUp && reader.isReady && !signal.aborted
    const sources = [reader, upkeep, caps, refusedLetters, watch, transport, security, clock, ...copy === null ? [] : [copy]]
    const warnings = () => [...config.warnings, ...sources.flatMap((source) => source.warnings())]
    const startedAtMs = clock.nowMs()
    addReadinessMetrics(metrics, () => ({ startedAtMs, warnings: warnings().length }))
    addProcessMetrics(metrics)
    const http = transport.createHttp(null, security.authenticateHttp, {
      requestsPerSecondMax: config.httpRequestsPerSecondMax,
      refusals: security.refusals,
      health: () => ({ live: true, ready: isReady(), database: { status: watch.isUp ? 'up' : 'down' }, warnings: warnings() }),
      metrics: metrics.render,
      version: packageJson.version,
      logger
    })

    async function connect (): Promise<void> {
      await upkeep.prepare()
      await watch.check()
      await security.start()
      watch.start()
      upkeep.start()
      copy?.start()
      reader.start()
    }

    onStop(async () => {
      await http.stop()
      await reader.stop()
      await Promise.all([upkeep.stop(), security.stop(), copy?.stop()])
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
    /** @returns once it listens @throws coded errors whose message states the remedy */
    start: () => lifecycle.start(startParts),
    /** Settles when what was read is stored, or given up, and the group is left. */
    stop: lifecycle.stop,
    /** Reads the certificates again. */
    reload: () => reload()
  }
}
