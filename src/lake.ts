import { join } from 'node:path'
import type { Logger } from 'pino'
import { createDatabase } from '../db/database.ts'
import { toLakeName } from '../db/gateway-names.ts'
import { createClock } from './clock.ts'
import type { Config } from './config/config.ts'
import { ConfigError } from './config/config-error.ts'
import { addDatabaseUp } from './ingest/journal/journal-metrics.ts'
import { loadKafkaClient } from './kafka/load-client.ts'
import { READINGS_TOPIC } from './kafka/records.ts'
import { addLakeMetrics } from './lake/lake-metrics.ts'
import { LAKE_LIMITS, type LakeLimits } from './lake/limits.ts'
import { loadDuckDb } from './lake/load-packages.ts'
import { openStore } from './lake/open-store.ts'
import { createPlans } from './lake/plans.ts'
import { createReadingsTable } from './lake/readings-table.ts'
import { LakeWriter } from './lake/writer.ts'
import { watchDatabase } from './operations/watch-database.ts'
import { createService, type ServiceParts, type ServiceSurroundings } from './service.ts'
import { createReader } from './sink/reader.ts'

const NO_LOCATION = 'vital-gateway lake needs VITAL_LAKE_URL: where it writes, such as s3://vital-lake/readings.'
const NO_KAFKA = 'vital-gateway lake needs KAFKA_BROKERS: the log that gateways write to (VITAL_JOURNAL=kafka).'
const TEXTS = {
  noDatabase: 'vital-gateway lake needs DATABASE_URL: the PostgreSQL of the gateways, in which vital-gateway topics trim finds the ' +
    'position of the lake.',
  notConnected: 'PostgreSQL does not answer; records wait in Kafka until it does',
  notYetReady: 'not ready until PostgreSQL and the consumer group answer; see /health/ready'
}
const CONNECTIONS = 4

export interface LakeOptions {
  readonly config: Config
  readonly logger: Logger
  /** Other bounds, for tests. */
  readonly limits?: Partial<LakeLimits>
}

/** The composition root of `vital-gateway lake`: from Kafka into files of Parquet, with metrics and health over HTTP. */
export function createLake ({ config, logger, limits: changed = {} }: LakeOptions) {
  const limits = { ...LAKE_LIMITS, ...changed }
  return createService({
    config, logger, toName: toLakeName, texts: TEXTS, createParts: (surroundings) => createParts(surroundings, limits)
  })
}

async function createParts (
  { config, connectionString, applicationName, lifecycle, metrics, logger }: ServiceSurroundings, limits: LakeLimits
): Promise<ServiceParts> {
  const { onStop, signal } = lifecycle
  const { kafka, lake } = config
  if (kafka === null) throw new ConfigError(NO_KAFKA)
  if (lake.location === null) throw new ConfigError(NO_LOCATION)
  const client = await loadKafkaClient('vital-gateway lake')
  const store = await openStore(lake.location, limits, signal)
  onStop(() => { store.close() })
  const dir = join(config.dataDir, 'lake')
  const table = await createReadingsTable({ library: await loadDuckDb(), dir, limits })
  onStop(() => table.close())
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
  const { kysely } = database
  const plans = createPlans(store)
  const reader = await createReader({
    client,
    config: kafka,
    group: lake.group,
    name: applicationName,
    kysely,
    topics: [READINGS_TOPIC],
    createStorage: (wiring) => new LakeWriter({ ...wiring, ...lake, store, plans, table, dir, kysely, limits, logger }),
    // A partition that waits holds one fetch.
    bytesMax: Infinity,
    limits,
    logger
  })
  addLakeMetrics(metrics, () => ({
    writer: reader.storing,
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
  return {
    database,
    clock,
    isReady: () => watch.isReadable && watch.isUp && reader.isReady,
    health: () => ({ database: { status: watch.isUp ? 'up' : 'down' } }),
    sources: [reader, watch, clock],
    prepare: () => watch.check(),
    start () {
      watch.start()
      reader.start()
    },
    stop: () => reader.stop()
  }
}
