import { mkdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { Registry } from 'prom-client'
import { createBroker } from '../broker/broker.ts'
import { createDatabase, type Database } from '../db/database.ts'
import { startEmbeddedPostgres } from '../db/embedded/server.ts'
import { migrate } from '../db/migrate.ts'
import { createPartitionsAhead } from '../db/partitions.ts'
import { countDeadLetters } from '../db/queries/count-dead-letters.ts'
import { findLatest } from '../db/queries/find-latest.ts'
import { selectLatest } from '../db/queries/select-latest.ts'
import { readServerWarnings } from '../db/server-settings.ts'
import { classifyError } from '../db/sqlstate.ts'
import { createStore } from '../db/store.ts'
import packageJson from '../package.json' with { type: 'json' }
import type { Config } from './config.ts'
import { DatabaseMonitor } from './database-monitor.ts'
import { createHttpServer } from './http/server.ts'
import { Batcher } from './ingest/batcher.ts'
import { DeadLetterCaps } from './ingest/dead-letter-caps.ts'
import { createIngest } from './ingest/ingest.ts'
import { createJournal } from './ingest/journal.ts'
import { Ledger } from './ingest/ledger.ts'
import { createMaintenance } from './maintenance.ts'
import { createMetrics } from './metrics.ts'

/** Bytes in one transaction; beyond, a batch costs latency and memory but no longer gains throughput. */
const BATCH_BYTES_MAX = 4 * 1024 * 1024
/** One transaction forms in the server while the next one's COPY arrives; a third only competes for the two cores. */
const BATCHES_IN_FLIGHT_MAX = 2
/** 100,000 letters of the largest size would be 25 GiB. */
const DEAD_LETTER_BYTES_MAX = 1024 * 1024 * 1024
const DRAIN_TIMEOUT_MS = 10_000
const DATABASE_WAIT_MS = 1000
const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS

/** A running gateway. */
export interface RunningGateway {
  readonly mqttPort: number
  readonly httpPort: number
  readonly connectionString: string
}

/**
 * The composition root: builds every part and wires them. Nothing runs before `start`; `stop` ends everything that
 * `start` began, in the order of the promise: no acknowledgement after the last commit, no commit lost.
 */
export function createGateway ({ config, logger }: { config: Config, logger: Logger }) {
  const onStop: Array<() => Promise<void> | void> = []
  let stopped: Promise<void> | null = null
  let isStopping = false

  /**
   * @returns once durability can be promised and both listeners accept
   * @throws coded errors whose message tells a person what to do
   */
  async function start (): Promise<RunningGateway> {
    try {
      return await startParts()
    } catch (error) {
      await stop()
      throw error
    }
  }

  async function startParts (): Promise<RunningGateway> {
    const connectionString = config.databaseUrl ?? await startEmbedded()
    const database = createDatabase({ connectionString, poolSize: config.databaseConnectionsMax, logger })
    onStop.push(() => database.close())
    const caps = new DeadLetterCaps({
      deadLettersMax: config.deadLettersMax,
      deadLettersPerDeviceMax: config.deadLettersPerDeviceMax,
      deadLetterBytesMax: DEAD_LETTER_BYTES_MAX
    })
    const databaseWarnings = await prepareDatabase(database, connectionString, caps)
    const warnings = [...config.warnings, ...databaseWarnings]
    for (const warning of warnings) logger.warn(warning)
    return { connectionString, ...await startTraffic(database, caps, warnings) }
  }

  async function startEmbedded (): Promise<string> {
    await mkdir(config.dataDir, { recursive: true, mode: 0o700 })
    const embedded = await startEmbeddedPostgres({ dataDir: config.dataDir, logger })
    onStop.push(() => embedded.stop())
    return embedded.connectionString
  }

  /** Waits for a database that is still starting; a fault that waiting cannot mend is thrown. */
  async function prepareDatabase (database: Database, connectionString: string, caps: DeadLetterCaps): Promise<string[]> {
    for (;;) {
      try {
        const warnings = await readServerWarnings(database.pool)
        await migrate({ connectionString, logger })
        await createPartitionsAhead({ database, now: new Date(), logger })
        caps.load(await countDeadLetters(database.kysely))
        return warnings
      } catch (error) {
        if (isStopping || 'code' in (error as Error) === false || classifyError(error) !== 'retry') throw error
        logger.warn({ err: error }, 'waiting for the database')
        await sleep(DATABASE_WAIT_MS)
      }
    }
  }

  async function startTraffic (database: Database, caps: DeadLetterCaps, warnings: readonly string[]) {
    const clock = { nowMs: () => Date.now(), monotonicMs: () => performance.now() }
    const ledger = new Ledger()
    const monitor = new DatabaseMonitor({
      pool: database.pool,
      logger,
      isRetrying: () => journal.isRetrying(),
      onChange: (isUp) => batcher.setAvailable(isUp)
    })
    const journal = createJournal({
      store: createStore(database),
      caps,
      logger,
      onAvailability: (isUp, cause) => monitor.report(isUp, cause),
      onRetry: (batch) => batcher.withoutAbandoned(batch)
    })
    const batcher: Batcher = new Batcher({
      limits: { ...config, batchBytesMax: BATCH_BYTES_MAX, batchesInFlightMax: BATCHES_IN_FLIGHT_MAX },
      ledger,
      commit: journal.commit,
      monotonicMs: clock.monotonicMs,
      onPressure: (isClosed) => isClosed ? broker.pauseReading() : broker.resumeReading(),
      onBatch: (batch) => metrics.observeBatch(batch)
    })
    const ingest = createIngest({
      batcher,
      caps,
      ledger,
      clock,
      onDurable: (durationMs) => metrics.observeAck(durationMs),
      fanOut: (device, payload) => broker.publish({ topic: `vital/${device}`, payload, qos: 1 })
    })
    const broker = createBroker({
      host: config.host,
      port: config.mqttPort,
      ingest: ingest.acceptPublish,
      limits: { packetBytesMax: config.packetBytesMax },
      deniedFilters: config.deniedFilters,
      version: packageJson.version,
      logger
    })
    const metrics = createMetrics(new Registry(), {
      ledger,
      pending: () => batcher.pending,
      bufferBytes: () => batcher.bytes,
      isDatabaseUp: () => monitor.isUp,
      isReadingStopped: () => batcher.isClosed,
      warnings: () => warnings.length,
      mqtt: () => broker.statistics()
    })
    const http = createHttpServer({
      host: config.host,
      port: config.httpPort,
      bodyBytesMax: config.packetBytesMax,
      ingest: ingest.acceptPost,
      reads: {
        listLatest: (query) => selectLatest(database.kysely, query),
        findLatest: (device) => findLatest(database.kysely, device)
      },
      health: () => ({
        live: true,
        ready: monitor.isUp && !isStopping,
        database: { status: monitor.isUp ? 'up' : 'down' },
        spool: { status: 'absent', bytes: 0, bytesMax: 0 },
        warnings: [...warnings]
      }),
      metrics: () => metrics.render(),
      logger,
      version: packageJson.version
    })
    const maintenance = createMaintenance({
      logger,
      tasks: [
        { name: 'partitions', intervalMs: HOUR_MS, run: async () => { await createPartitionsAhead({ database, now: new Date(), logger }) } },
        { name: 'dead-letter counts', intervalMs: MINUTE_MS, run: async () => caps.load(await countDeadLetters(database.kysely)) }
      ]
    })

    onStop.push(async () => {
      maintenance.stop()
      await broker.stopListening()
      const httpStopped = http.stop()
      broker.pauseReading()
      await batcher.drain(DRAIN_TIMEOUT_MS)
      if (batcher.pending > 0) logger.error({ pending: batcher.pending }, 'stopped before everything was durable; the devices keep what was not acknowledged')
      batcher.stop()
      journal.stop()
      await broker.stop()
      await httpStopped
      monitor.stop()
    })
    monitor.start()
    maintenance.start()
    const mqttAddress = await broker.start()
    const httpAddress = await http.start()
    logger.info('ready')
    return { mqttPort: mqttAddress.port, httpPort: httpAddress.port }
  }

  /** Settles when everything has ended; what was accepted is durable and acknowledged, or was not acknowledged. */
  function stop (): Promise<void> {
    isStopping = true
    stopped ??= (async () => {
      for (const end of onStop.reverse()) await end()
    })()
    return stopped
  }

  return { start, stop }
}
