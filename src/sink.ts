import type { Logger } from 'pino'
import { createDatabase } from '../db/database.ts'
import { toSinkName } from '../db/gateway-names.ts'
import { createStore } from '../db/store.ts'
import { createClock } from './clock.ts'
import type { Config } from './config/config.ts'
import { ConfigError } from './config/config-error.ts'
import { DeadLetterCaps } from './ingest/dead-letter-caps.ts'
import { INGEST_LIMITS } from './ingest/limits.ts'
import { Ledger } from './ingest/ledger.ts'
import { createRefusedLetters } from './ingest/journal/refused-letters.ts'
import { toClientOptions } from './kafka/connection.ts'
import { loadKafkaClient } from './kafka/load-client.ts'
import { TOPICS } from './kafka/topics.ts'
import { watchDatabase } from './operations/watch-database.ts'
import { openCopy } from './reads/latest-cache/open-copy.ts'
import { makeDirectory } from './process/make-directory.ts'
import { createService, type ServiceParts, type ServiceSurroundings } from './service.ts'
import { createAnnouncer } from './sink/announcer.ts'
import { SINK_LIMITS, type SinkLimits } from './sink/limits.ts'
import { createOffsetWriter } from './sink/offset-writer.ts'
import { createReader } from './sink/reader.ts'
import { addSinkMetrics, addStoringMetrics } from './sink/sink-metrics.ts'
import { Storing } from './sink/storing.ts'
import { createUpkeep } from './sink/upkeep.ts'

const NO_KAFKA = 'vital-gateway sink needs KAFKA_BROKERS: the Kafka that gateways write to (VITAL_JOURNAL=kafka).'
const TEXTS = {
  noDatabase: 'vital-gateway sink needs DATABASE_URL: the PostgreSQL that all sinks write to.',
  notConnected: 'PostgreSQL does not answer; records wait in Kafka until it does',
  notYetReady: 'not ready until PostgreSQL and the consumer group answer; see /health/ready'
}

export interface SinkOptions {
  readonly config: Config
  readonly logger: Logger
  /** Other bounds, for tests. */
  readonly limits?: Partial<SinkLimits>
}

/** The composition root of `vital-gateway sink`: from Kafka into PostgreSQL, with metrics and health over HTTP. */
export function createSink ({ config, logger, limits: changed = {} }: SinkOptions) {
  const limits = { ...SINK_LIMITS, ...changed }
  return createService({
    config, logger, toName: toSinkName, texts: TEXTS, createParts: (surroundings) => createParts(surroundings, limits)
  })
}

async function createParts (
  { config, connectionString, applicationName, lifecycle, metrics, logger }: ServiceSurroundings, limits: SinkLimits
): Promise<ServiceParts> {
  const { signal, onStop } = lifecycle
  if (config.kafka === null) throw new ConfigError(NO_KAFKA)
  const client = await loadKafkaClient('vital-gateway sink')
  const ledger = new Ledger()
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
  const copy = await openCopy({ url: config.latestCacheUrl, name: applicationName, database, metrics, logger })
  if (copy !== null) onStop(() => copy.close())
  makeDirectory(config.dataDir)
  const refusedLetters = createRefusedLetters({ dataDir: config.dataDir, logger })
  const { deadLetterBytesMax } = INGEST_LIMITS
  const caps = new DeadLetterCaps({ ...config, deadLetterBytesMax }, (warning) => { logger.warn(warning) })
  const writer = createOffsetWriter({ store: createStore({ ...database, copy: copy?.copy ?? null }), refusedLetters, logger })
  const storing = { writer, target: 'PostgreSQL', caps, ledger, readingsMax: config.batchReadingsMax }
  const announcer = createAnnouncer({ client, connection: await toClientOptions(config.kafka, applicationName), logger })
  onStop(() => announcer.stop())
  const reader = await createReader({
    client,
    config: config.kafka,
    group: config.sinkGroup,
    name: applicationName,
    kysely: database.kysely,
    topics: TOPICS,
    createStorage: (wiring) => new Storing({
      ...wiring, ...storing, onBatch: (batch) => { observeBatch(batch) }, onCommitted: announcer.announce, limits, logger
    }),
    bytesMax: config.bufferBytesMax,
    limits,
    logger
  })
  const observeBatch = addStoringMetrics(metrics, () => ({
    ledger, caps, pending: reader.storing.pending, isDatabaseUp: reader.storing.isUp && watch.isUp
  }))
  addSinkMetrics(metrics, announcer.statistics, () => ({
    isMember: reader.isMember,
    partitions: reader.partitions,
    partitionBytesMax: limits.partitionBytesMax,
    nowMs: Date.now(),
    monotonicMs: performance.now(),
    rebalances: reader.rebalances,
    replaced: reader.storing.replaced,
    rejoins: reader.rejoins,
    truncations: reader.truncations
  }))
  const watch = watchDatabase({ database, clock, logger })
  onStop(() => watch.stop())
  const upkeep = createUpkeep({
    connectionString, database, name: applicationName, copy, clock, caps, isSaturated: () => reader.storing.isBusy, signal, metrics, logger
  })
  return {
    database,
    clock,
    isReady: () => watch.isReadable && watch.isUp && reader.isReady,
    health: () => ({ database: { status: watch.isUp ? 'up' : 'down' } }),
    sources: [reader, upkeep, caps, refusedLetters, watch, clock, ...copy === null ? [] : [copy]],
    async prepare () {
      await upkeep.prepare()
      await watch.check()
    },
    start () {
      watch.start()
      upkeep.start()
      copy?.start()
      reader.start()
    },
    async stop () {
      await reader.stop()
      await Promise.all([upkeep.stop(), copy?.stop()])
    }
  }
}
