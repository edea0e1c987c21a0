import { join } from 'node:path'
import type { Logger } from 'pino'
import { createDatabase, type Database } from '../db/database.ts'
import { startEmbeddedPostgres } from '../db/embedded/server.ts'
import { createStore, type Store, type StoredObserver } from '../db/store.ts'
import type { Clock } from './clock.ts'
import type { Config } from './config/config.ts'
import { type Disk, realDisk } from './ingest/journal/spool/disk.ts'
import { openJournalSpool } from './ingest/journal/open-journal-spool.ts'
import { createPostgresTarget } from './ingest/journal/postgres-target.ts'
import { createRefusedLetters } from './ingest/journal/refused-letters.ts'
import { type ErasedDevices, openErasedDevices } from './ingest/journal/spool/erased-devices.ts'
import { addKafkaMetrics } from './kafka/kafka-metrics.ts'
import type { Metrics } from './metrics/metrics.ts'
import { ErasureLease } from './operations/erasure-lease.ts'
import type { ErasureStep } from './operations/erasure-requests.ts'
import type { KafkaJournalOptions } from './operations/open-kafka-journal.ts'
import { watchDatabase } from './operations/watch-database.ts'
import type { Lifecycle } from './process/lifecycle.ts'
import { makeDirectory } from './process/make-directory.ts'
import { loadLatestCache } from './reads/latest-cache/open-latest-cache.ts'
import type { GatewayReads, ReadsOptions } from './reads/reads.ts'

/** Wrappers through which faults are injected: the chaos harness wraps PostgreSQL and the disk. */
export interface StorageFaults {
  readonly wrapStore?: (store: Store) => Store
  readonly disk?: Disk
  readonly onErasureStep?: (step: ErasureStep) => void
  /** Called between a COMMIT and the copy of `latest` in Redis. */
  readonly onCommitted?: (devices: readonly string[]) => Promise<void> | void
}

/** The part of reads that {@link openStorage} uses. */
export type StorageReads = Pick<GatewayReads, 'copy' | 'close'> & { readonly pages: Pick<GatewayReads['pages'], 'observe'> }

interface StorageOptions<Reads extends StorageReads> {
  readonly config: Config
  /** Opens reads, with a pool of their own. A process that serves no reads passes a smaller version. */
  readonly createReads: (options: ReadsOptions & { readonly kysely: Database['kysely'] }) => Reads
  /** Tells gateways on one database apart, in `pg_stat_activity` and to the audit. */
  readonly applicationName: string
  readonly lifecycle: Pick<Lifecycle, 'signal' | 'onStop'>
  readonly clock: Pick<Clock, 'nowMs' | 'observe' | 'read'>
  readonly metrics: Metrics
  readonly faults: StorageFaults
  readonly logger: Logger
}

const STATEMENT_TIMEOUT_MS_MIN = 3000

/**
 * Opens the storage of readings: the spool's directory, PostgreSQL (embedded if no other one is configured), the pool
 * of connections that write, and reads with a pool of their own. The stop closes each of them.
 */
export async function openStorage<Reads extends StorageReads> (
  { config, createReads, applicationName, lifecycle, clock, metrics, faults, logger }: StorageOptions<Reads>
) {
  const { dataDir } = config
  const { signal, onStop } = lifecycle
  const observers: StoredObserver[] = []
  const kafka = config.journal.kind === 'kafka'
    ? await openKafka({ config, clientId: applicationName, observers, seenErasure: () => erased.seen, logger })
    : null
  if (kafka !== null) {
    onStop(() => kafka.close())
    addKafkaMetrics(metrics, kafka.statistics)
  }
  makeDirectory(dataDir)
  const spoolDirectory = join(dataDir, 'spool')
  // Before anything else in the data directory, because the spool holds its lock.
  const { spool, kept } = await openJournalSpool({ config, directory: spoolDirectory, disk: faults.disk, logger })
  const keeping = kept === null ? null : { segments: kept, keepMs: config.spoolKeepMs, findLost: kafka!.findLost }
  kafka?.onAcknowledged((positions) => { kept?.acknowledge(positions) })
  onStop(() => spool.close())
  const erased: ErasedDevices = await openErasedDevices({ directory: spoolDirectory, disk: faults.disk ?? realDisk, logger })
  const embedded = config.databaseUrl === null ? await startEmbeddedPostgres({ dataDir, signal, logger }) : null
  if (embedded !== null) onStop(() => embedded.stop())
  const connectionString = config.databaseUrl ?? embedded!.connectionString
  const database = createDatabase({
    connectionString,
    poolSize: config.databaseConnectionsMax - config.databaseReadConnectionsMax,
    ...toTimeouts(config.commitTimeoutMs),
    applicationName,
    logger
  })
  onStop(() => database.close())
  // With Kafka the circuit is about Kafka, so PostgreSQL is watched separately.
  const watch = kafka === null ? null : watchDatabase({ database, clock, logger })
  if (watch !== null) onStop(() => watch.stop())
  watch?.start()
  const createCache = await loadLatestCache(config.latestCacheUrl)
  const reads = createReads({
    connectionString,
    kysely: database.kysely,
    createCache,
    isWriter: kafka === null,
    onCommitted: faults.onCommitted,
    replicaUrls: config.replicaUrls,
    connectionsMax: config.databaseReadConnectionsMax,
    applicationName,
    isPooled: () => database.isPooled,
    clock,
    metrics,
    logger
  })
  onStop(() => reads.close())
  // With Kafka a sink stores the readings, and pages are read from PostgreSQL.
  if (kafka === null) observers.push(reads.pages.observe)
  const stored = createStore({ ...database, copy: reads.copy, onStored: observers })
  // Observers are below the injected faults: they see a COMMIT even if a fault loses its answer.
  const store = faults.wrapStore?.(stored) ?? stored
  const refusedLetters = createRefusedLetters({ dataDir, logger })
  const target = kafka?.target ?? createPostgresTarget({ store, pool: database.pool, refusedLetters, onClock: clock.observe, logger })
  /** Adds an observer, which is called after the others. If Kafka is the journal, it observes what Kafka has. */
  const observeStored = (observer: StoredObserver) => { observers.push(observer) }
  const lease = new ErasureLease(database.kysely)
  const erasures = { erased, mayWrite: kafka === null ? lease.mayWrite : () => null, lease, onStep: faults.onErasureStep }
  return {
    spool,
    keeping,
    spoolDirectory,
    erasures,
    refusedLetters,
    connectionString,
    database,
    kafka,
    target,
    ...toWatched(watch),
    observeStored,
    reads
  }
}

/** Imported here and not at the top, so that a gateway without Kafka does not load its client. */
async function openKafka (options: KafkaJournalOptions) {
  const { openKafkaJournal } = await import('./operations/open-kafka-journal.ts')
  return await openKafkaJournal(options)
}

function toWatched (watch: ReturnType<typeof watchDatabase> | null): { readonly isDatabaseUp?: () => boolean } {
  return watch === null ? {} : { isDatabaseUp: () => watch.isUp }
}

/**
 * A statement is cancelled only after its commit was given up. If the cancellation is not answered either, its
 * connection is closed.
 */
function toTimeouts (commitTimeoutMs: number): { statementTimeoutMs: number, queryTimeoutMs: number } {
  const statementTimeoutMs = Math.max(STATEMENT_TIMEOUT_MS_MIN, commitTimeoutMs + 500)
  return { statementTimeoutMs, queryTimeoutMs: statementTimeoutMs + 1000 }
}
