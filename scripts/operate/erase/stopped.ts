/**
 * Erasure in the place of a gateway that is stopped: under the lock of its spool, with the gateway's own parts. The
 * spool is written to PostgreSQL, or Kafka, as at a start, and the device deleted there.
 */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import type { Database } from '../../../db/database.ts'
import { migrate } from '../../../db/migrate.ts'
import { startEmbeddedPostgres } from '../../../db/embedded/server.ts'
import { StorageError } from '../../../db/storage-error.ts'
import { createStore } from '../../../db/store.ts'
import type { Config } from '../../../src/config/config.ts'
import { ConfigError } from '../../../src/config/config-error.ts'
import { createErasure } from '../../../src/operations/erasure.ts'
import { realDisk } from '../../../src/ingest/journal/spool/disk.ts'
import { openJournalSpool } from '../../../src/ingest/journal/open-journal-spool.ts'
import type { Spool } from '../../../src/ingest/journal/spool/spool.ts'
import { SpoolError } from '../../../src/ingest/journal/spool/spool-error.ts'
import { createKafkaTarget } from '../../../src/ingest/journal/kafka-target.ts'
import { createPostgresTarget } from '../../../src/ingest/journal/postgres-target.ts'
import { createRefusedLetters } from '../../../src/ingest/journal/refused-letters.ts'
import { createClock } from '../../../src/clock.ts'
import { createPipeline } from '../../../src/ingest/pipeline.ts'
import { createKafkaLog, type KafkaLog } from '../../../src/kafka/kafka-log.ts'
import { toMessageBytesMin } from '../../../src/kafka/limits.ts'
import { createMetrics } from '../../../src/metrics/metrics.ts'
import { createErasureMarkers } from '../../../src/operations/erasure-markers.ts'
import { createErasureJournal } from '../../../src/operations/erasure-journal.ts'
import { ErasureLease } from '../../../src/operations/erasure-lease.ts'
import { createErasureRequests } from '../../../src/operations/erasure-requests.ts'
import { openErasedDevices } from '../../../src/ingest/journal/spool/erased-devices.ts'
import { toDatabaseUrl, withDatabase } from '../../command-line/database.ts'
import { OperatorError } from '../../command-line/operator-error.ts'
import { createProgress } from '../../command-line/progress.ts'
import type { Print, ProgressStream } from '../../command-line/surroundings.ts'
import type { Erased } from './erased.ts'

const STATEMENT_TIMEOUT_MS = 60_000
const PROGRESS_EVERY_MS = 200

/** The command itself reports failures. */
const logger = pino({ level: 'silent' })

interface Request {
  readonly config: Config
  readonly devices: readonly string[]
  readonly actor: string
  /** `null`: the spool is written to PostgreSQL. A restore has none: it must not erase later records in Kafka. */
  readonly log: KafkaLog | null
  readonly tell: Print
  readonly progress: ProgressStream
}

/** Erases one device, with its records in Kafka where that is the journal. */
export async function eraseStopped (
  { device, ...rest }: Omit<Request, 'devices' | 'log'> & { readonly device: string }
): Promise<Erased | null> {
  const log = await openLog(rest.config)
  try {
    const erased = await eraseDevicesStopped({ ...rest, devices: [device], log })
    return erased?.[0] ?? null
  } finally {
    await log?.close()
  }
}

async function openLog ({ journal, kafka, packetBytesMax }: Config): Promise<KafkaLog | null> {
  if (journal.kind !== 'kafka' || kafka === null) return null
  try {
    const messageBytesMin = toMessageBytesMin(packetBytesMax)
    return await createKafkaLog({ kafka, asked: 'VITAL_JOURNAL=kafka', clientId: 'vital-gateway-erase', messageBytesMin })
  } catch (cause) {
    if (!(cause instanceof ConfigError)) throw cause
    throw new OperatorError('OPERATOR_FAILED', cause.message, { cause })
  }
}

/**
 * @returns what was removed of each; `null` when the gateway of this directory runs, and must be asked instead
 * @throws `OPERATOR_FAILED`
 */
export async function eraseDevicesStopped (request: Request): Promise<Erased[] | null> {
  const { config, tell } = request
  const directory = join(config.dataDir, 'spool')
  await assertOwnSpool(directory)
  let spool: Spool
  try {
    spool = (await openJournalSpool({ config, directory, logger })).spool
  } catch (cause) {
    if (!(cause instanceof SpoolError)) throw cause
    if (cause.code === 'VITAL_SPOOL_IN_USE') return null
    throw new OperatorError('OPERATOR_FAILED', cause.message, { cause })
  }
  try {
    tell(`no gateway runs on ${config.dataDir}: erasing in its place`)
    const embedded = config.databaseUrl === null ? await startEmbedded(config.dataDir) : null
    try {
      return await withDatabase({ config, name: toName(), statementTimeoutMs: STATEMENT_TIMEOUT_MS },
        async (database) => await drainAndErase(database, spool, directory, request))
    } finally {
      await embedded?.stop()
    }
  } finally {
    await spool.close()
  }
}

/** There is no broker. */
const forgetNothing = () => ({ retained: 0, queued: 0 })

/** In pg_stat_activity: two of these commands must not take each other's requests. */
const toName = () => `erase ${process.pid}`

/** Files of another user, such as root's, would keep the gateway from its own spool. */
async function assertOwnSpool (directory: string): Promise<void> {
  const found = await stat(directory).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') {
      throw new OperatorError('OPERATOR_FAILED', `there is no spool at ${directory}, so the readings that wait there are unknown.\n` +
        'Set VITAL_DATA_DIR to that of the gateway, or name a running gateway with --url.', { cause })
    }
    throw new OperatorError('OPERATOR_FAILED',
      `${directory} cannot be inspected (${cause.code}): run this as the user that runs the gateway.`, { cause })
  })
  const uid = process.getuid?.()
  if (uid !== undefined && found.uid !== uid) {
    throw new OperatorError('OPERATOR_FAILED',
      `${directory} belongs to user ${found.uid}: run this as that user, which runs the gateway, or name a running gateway with --url.`)
  }
}

async function startEmbedded (dataDir: string) {
  try {
    return await startEmbeddedPostgres({ dataDir, logger })
  } catch (cause) {
    if (cause instanceof StorageError) throw new OperatorError('OPERATOR_FAILED', cause.message, { cause })
    throw cause
  }
}

async function drainAndErase (
  database: Database, spool: Spool, directory: string, { config, devices, actor, log, progress: stream }: Request
): Promise<Erased[]> {
  const connectionString = await toDatabaseUrl(config)
  // A restored database may be older than this program.
  await migrate({ connectionString, logger })
  const erased = await openErasedDevices({ directory, disk: realDisk, logger })
  const lease = new ErasureLease(database.kysely)
  const refusedLetters = createRefusedLetters({ dataDir: config.dataDir, logger })
  const pipeline = createPipeline({
    limits: { ...config, commitTimeoutMs: STATEMENT_TIMEOUT_MS },
    target: log === null
      ? createPostgresTarget({ store: createStore(database), pool: database.pool, refusedLetters, logger })
      : createKafkaTarget({ log, seenErasure: () => erased.seen }),
    spool,
    clock: createClock({ ownMs: Date.now, monotonicMs: () => performance.now(), logger }),
    refusedLetters,
    // There is one connection, which a query within a write would wait for; and nothing else writes.
    erasures: { erased, mayWrite: () => null },
    metrics: createMetrics(),
    logger
  })
  const shared = { pipeline, spoolDirectory: directory, isStopping: () => false, logger }
  const requests = createErasureRequests({
    ...shared, kysely: database.kysely, name: `vital ${toName()}`, lease, erased, forget: forgetNothing, onDeleted: () => Promise.resolve()
  })
  const erasure = createErasure({
    ...shared,
    journal: createErasureJournal(config.dataDir),
    forget: forgetNothing,
    requests,
    mark: log === null ? undefined : createErasureMarkers({ kysely: database.kysely, log }),
    hasRedis: config.redisUrl !== null,
    connectionString,
    waitMaxMs: Infinity
  })
  const { replayer } = pipeline
  const progress = createProgress({ label: `spool into ${pipeline.target.name}`, total: Math.max(1, replayer.pending), stream })
  const timer = setInterval(() => { progress.update(replayer.replayed) }, PROGRESS_EVERY_MS)
  await requests.register()
  pipeline.takeTarget()
  await pipeline.start()
  const answers: Erased[] = []
  try {
    for (const device of devices) answers.push(await erasure.erase(device, actor))
    return answers
  } catch (cause) {
    if (cause instanceof StorageError) {
      throw new OperatorError('OPERATOR_FAILED', `${cause.message}. It is safe to run this again.`, { cause })
    }
    throw cause
  } finally {
    clearInterval(timer)
    progress.stop()
    await pipeline.drain()
    await pipeline.stop()
    await requests.leave()
  }
}
