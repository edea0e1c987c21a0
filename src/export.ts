import { createDatabase } from '../db/database.ts'
import { toExportName } from '../db/gateway-names.ts'
import { countDeadLetters } from '../db/queries/count-dead-letters.ts'
import { createStore } from '../db/store.ts'
import type { Logger } from 'pino'
import { createClock } from './clock.ts'
import type { Config } from './config/config.ts'
import { ConfigError } from './config/config-error.ts'
import { createBatchWriter } from './export/batch-writer.ts'
import { ExportError } from './export/export-error.ts'
import { addExportMetrics } from './export/export-metrics.ts'
import { createInspector } from './export/inspector.ts'
import { EXPORT_LIMITS, type ExportLimits } from './export/limits.ts'
import { createTarget } from './export/target.ts'
import { DeadLetterCaps } from './ingest/dead-letter-caps.ts'
import { createRefusedLetters } from './ingest/journal/refused-letters.ts'
import { addDatabaseUp } from './ingest/journal/journal-metrics.ts'
import { Ledger } from './ingest/ledger.ts'
import { INGEST_LIMITS } from './ingest/limits.ts'
import { loadKafkaClient } from './kafka/load-client.ts'
import { READINGS_TOPIC } from './kafka/records.ts'
import { createScheduler } from './operations/scheduler.ts'
import { watchDatabase } from './operations/watch-database.ts'
import { makeDirectory } from './process/make-directory.ts'
import { createService, type ServiceParts, type ServiceSurroundings } from './service.ts'
import { createReader } from './sink/reader.ts'
import { Storing } from './sink/storing.ts'

const NO_TARGET = 'vital-gateway export needs VITAL_EXPORT_URL: the time-series database that it writes to, such as http://127.0.0.1:8086.'
const NO_KAFKA = 'vital-gateway export needs KAFKA_BROKERS: the log that gateways write to (VITAL_JOURNAL=kafka).'
const TEXTS = {
  noDatabase: 'vital-gateway export needs DATABASE_URL: the PostgreSQL of the gateways, which keeps the position of the export.',
  notConnected: 'PostgreSQL does not answer; records wait in Kafka until it does',
  notYetReady: 'not ready until PostgreSQL and the consumer group answer; see /health/ready'
}
const CONNECTIONS = 4
const MINUTE_MS = 60_000

export interface ExportOptions {
  readonly config: Config
  readonly logger: Logger
  /** Other bounds, for tests. */
  readonly limits?: Partial<ExportLimits>
}

/** The composition root of `vital-gateway export`: from Kafka into a time-series database, with metrics and health over HTTP. */
export function createExport ({ config, logger, limits: changed = {} }: ExportOptions) {
  const limits = { ...EXPORT_LIMITS, ...changed }
  return createService({
    config, logger, toName: toExportName, texts: TEXTS, createParts: (surroundings) => createParts(surroundings, limits)
  })
}

async function createParts (
  { config, connectionString, applicationName, lifecycle, metrics, logger }: ServiceSurroundings, limits: ExportLimits
): Promise<ServiceParts> {
  const { onStop } = lifecycle
  const { kafka, timeSeries } = config
  if (kafka === null) throw new ConfigError(NO_KAFKA)
  if (timeSeries === null) throw new ConfigError(NO_TARGET)
  const client = await loadKafkaClient('vital-gateway export')
  const target = await createTarget({ config: timeSeries, limits })
  onStop(() => { target.close() })
  const inspector = createInspector({ inspect: target.inspect, limits, logger })
  const clock = createClock({ ownMs: Date.now, monotonicMs: () => performance.now(), logger })
  const database = createDatabase({
    connectionString,
    poolSize: CONNECTIONS,
    statementTimeoutMs: limits.statementTimeoutMs,
    queryTimeoutMs: limits.statementTimeoutMs + 1000,
    applicationName,
    logger
  })
  onStop(() => database.close())
  makeDirectory(config.dataDir)
  const refusedLetters = createRefusedLetters({ dataDir: config.dataDir, logger })
  const { deadLetterBytesMax } = INGEST_LIMITS
  const caps = new DeadLetterCaps({ ...config, deadLetterBytesMax }, (warning) => { logger.warn(warning) })
  const writer = createBatchWriter({ target, inspector, store: createStore(database), caps, refusedLetters, limits, logger })
  const ledger = new Ledger()
  const reader = await createReader({
    client,
    config: kafka,
    group: timeSeries.group,
    name: applicationName,
    kysely: database.kysely,
    topics: [READINGS_TOPIC],
    createStorage: (wiring) => new Storing({
      ...wiring,
      writer,
      // It is a copy: what was trimmed is in PostgreSQL.
      beginsAtFirst: true,
      target: 'the time-series database',
      explain: (error) => error instanceof ExportError ? error.message : null,
      // Only a sink keeps unreadable records as dead letters.
      caps: { admit: () => false },
      ledger,
      onBatch: () => {},
      readingsMax: timeSeries.batchReadingsMax,
      limits,
      logger
    }),
    bytesMax: limits.bufferBytesMax,
    limits,
    logger
  })
  addExportMetrics(metrics, () => ({
    ledger,
    statistics: writer.statistics,
    inspector,
    isUp: reader.storing.isUp,
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
  addDatabaseUp(metrics, () => watch.isUp)
  const countLetters = async () => { caps.load(await countDeadLetters(database.kysely)) }
  const scheduler = createScheduler({ tasks: [{ name: 'dead-letter counts', intervalMs: MINUTE_MS, run: countLetters }], logger })
  return {
    database,
    clock,
    isReady: () => watch.isReadable && watch.isUp && reader.isReady,
    health: () => ({ database: { status: watch.isUp ? 'up' : 'down' } }),
    sources: [reader, inspector, writer, caps, refusedLetters, watch, clock],
    async prepare () {
      await watch.check()
      await countLetters()
    },
    start () {
      watch.start()
      inspector.start()
      scheduler.start()
      reader.start()
    },
    async stop () {
      scheduler.stop()
      // A database that does not answer must not delay the stop.
      const timer = setTimeout(() => { target.close() }, limits.drainMs)
      await reader.stop()
      await inspector.stop()
      clearTimeout(timer)
    }
  }
}
