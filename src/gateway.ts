import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { createBroker } from '../broker/broker.ts'
import { createDatabase, type Database } from '../db/database.ts'
import { startEmbeddedPostgres } from '../db/embedded/server.ts'
import { toGatewayName } from '../db/gateway-names.ts'
import { countDeadLetters } from '../db/queries/count-dead-letters.ts'
import type { Store } from '../db/store.ts'
import packageJson from '../package.json' with { type: 'json' }
import { createClock } from './clock.ts'
import type { Config } from './config/config.ts'
import { ConfigError } from './config/config-error.ts'
import { createErasure } from './operations/erasure.ts'
import { Batcher } from './ingest/batcher.ts'
import { Circuit } from './ingest/journal/circuit.ts'
import { DeadLetterCaps } from './ingest/dead-letter-caps.ts'
import { createIngest } from './ingest/ingest.ts'
import { createJournal } from './ingest/journal/journal.ts'
import { Ledger } from './ingest/ledger.ts'
import { createNameHints } from './ingest/name-hints.ts'
import { Replayer } from './ingest/journal/replayer.ts'
import { type Disk, realDisk } from './ingest/journal/spool/disk.ts'
import { openSpool, type Spool } from './ingest/journal/spool/spool.ts'
import { createSpoolWatch } from './ingest/journal/spool/spool-watch.ts'
import { createMaintenance } from './operations/scheduler.ts'
import { addIngestMetrics } from './ingest/ingest-metrics.ts'
import { addJournalMetrics } from './ingest/journal/journal-metrics.ts'
import { addProcessMetrics, createMetrics } from './metrics/metrics.ts'
import { addOperationsMetrics } from './operations/operations-metrics.ts'
import { addReadsMetrics } from './reads/reads-metrics.ts'
import { addSecurityMetrics } from './security/security-metrics.ts'
import { addBrokerMetrics } from './transport/broker-metrics.ts'
import { addTransportMetrics } from './transport/transport-metrics.ts'
import { connectWhenever } from './operations/connect-database.ts'
import { createErasureJournal } from './operations/erasure-journal.ts'
import { fitConnections } from './process/descriptors.ts'
import { createLifecycle } from './process/lifecycle.ts'
import { createPartitionUpkeep } from './operations/partition-upkeep.ts'
import { sayReady } from './operations/say-ready.ts'
import { prepareDatabase } from './operations/prepare-database.ts'
import { createRetention } from './operations/retention.ts'
import { exposedMessage } from './security/access.ts'
import { createSecurity } from './security/security.ts'
import { createStorage, toTimeouts } from './operations/storage.ts'
import { createTransport } from './transport/transport.ts'
import { toWarnings } from './operations/warnings.ts'

/** Bytes in one transaction; beyond, a batch costs latency and memory but no longer gains throughput. */
const BATCH_BYTES_MAX = 2 * 1024 * 1024
/** One transaction forms in the server while the next one's COPY arrives; a third only competes for the two cores. */
const BATCHES_IN_FLIGHT_MAX = 2
/** 100,000 letters of the largest size would be 25 GiB. */
const DEAD_LETTER_BYTES_MAX = 1024 * 1024 * 1024
/** The unit in which the spool gives space back. */
const SPOOL_SEGMENT_BYTES = 64 * 1024 * 1024
const DRAIN_TIMEOUT_MS = 10_000
/** Whoever asks for an erasure is told of a backlog that takes longer, instead of being left in the dark. */
const ERASURE_WAIT_MAX_MS = 30_000
const MINUTE_MS = 60_000

/** A running gateway. */
export interface RunningGateway {
  readonly mqttPort: number
  readonly httpPort: number
  /** Of MQTT inside TLS, and of metrics and health; `null` where there is no such listener. */
  readonly mqttsPort: number | null
  readonly adminPort: number | null
  readonly connectionString: string
}

export interface GatewayOptions {
  readonly config: Config
  readonly logger: Logger
  /** Where faults come in: the chaos harness wraps what touches PostgreSQL and the disk. */
  readonly faults?: { readonly wrapStore?: (store: Store) => Store, readonly disk?: Disk, readonly nowMs?: () => number }
}

/**
 * The composition root: builds every part and wires them. Nothing runs before `start`; `stop` ends everything that
 * `start` began, in the order of the promise: no acknowledgement after the last commit, no commit lost.
 */
export function createGateway ({ config: given, logger, faults = {} }: GatewayOptions) {
  const config = fitConnections(given)
  const applicationName = toGatewayName({ host: hostname(), pid: process.pid, id: randomBytes(6).toString('hex') })
  const { signal, onStop, start, stop } = createLifecycle()
  const isStopping = () => signal.aborted
  let reload: () => Promise<void> = async () => {}

  async function startParts (): Promise<RunningGateway> {
    await mkdir(config.dataDir, { recursive: true, mode: 0o700 })
    // First, because it holds the lock of the directory.
    const spool = await openSpool({
      directory: join(config.dataDir, 'spool'),
      bytesMax: config.spoolBytesMax,
      segmentBytes: SPOOL_SEGMENT_BYTES,
      disk: faults.disk ?? realDisk,
      logger
    })
    onStop(() => spool.close())
    const connectionString = config.databaseUrl ?? await startEmbedded()
    const database = createDatabase({
      connectionString,
      poolSize: config.databaseConnectionsMax - config.databaseReadConnectionsMax,
      ...toTimeouts(config.commitTimeoutMs),
      logger,
      // Tells gateways on one database apart, in pg_stat_activity and to the audit.
      applicationName
    })
    onStop(() => database.close())
    return { connectionString, ...await startTraffic(database, connectionString, spool) }
  }

  async function startEmbedded (): Promise<string> {
    const embedded = await startEmbeddedPostgres({ dataDir: config.dataDir, signal, logger })
    onStop(() => embedded.stop())
    return embedded.connectionString
  }

  async function startTraffic (database: Database, connectionString: string, spool: Spool) {
    const clock = createClock({ ownMs: faults.nowMs ?? Date.now, monotonicMs: () => performance.now(), logger })
    const ledger = new Ledger()
    const nameHints = createNameHints(logger)
    const caps: DeadLetterCaps = new DeadLetterCaps({
      deadLettersMax: config.deadLettersMax,
      deadLettersPerDeviceMax: config.deadLettersPerDeviceMax,
      deadLetterBytesMax: DEAD_LETTER_BYTES_MAX
    }, () => { logger.warn(caps.warnings()[0] ?? 'an input is too large for what is left of the dead letters, and is not kept') })
    let databaseWarnings: readonly string[] = []
    for (const warning of [...config.warnings, ...config.notices]) logger.warn(warning)

    const transport = await createTransport({ config, logger })
    reload = transport.reload
    const security = await createSecurity({
      ...config,
      kysely: database.kysely,
      hasClientCertificates: transport.hasClientCertificates,
      broker: () => broker,
      logger
    })
    const isReady = () => isDurable() && security.isAdmitting && !isStopping()
    const isDurable = () => circuit.state === 'closed' || spool.status === 'ok'
    const updateAvailability = () => batcher.setAvailable(isDurable())
    const circuit: Circuit = new Circuit({
      pool: database.pool,
      logger,
      hasBacklog: () => replayer.hasTrial,
      onChange: () => {
        updateAvailability()
        replayer.wake()
      },
      onClock: clock.observe
    })
    const spoolWatch = createSpoolWatch({ spool, isNeeded: () => circuit.state !== 'closed', onChange: updateAvailability, logger })
    onStop(spoolWatch.stop)
    const partitions = createPartitionUpkeep({ connectionString, clock, logger })
    const retention = createRetention({ days: config.retentionDays, connectionString, isStopping, logger })
    const { writer, refusedLetters, reads, pages, budget, close } = createStorage({
      database, connectionString, dataDir: config.dataDir, readConnectionsMax: config.databaseReadConnectionsMax, applicationName, faults, logger
    })
    onStop(close)
    const journal = createJournal({
      writer,
      spool,
      circuit,
      logger,
      commitTimeoutMs: config.commitTimeoutMs,
      onRetry: (batch) => batcher.dropAbandoned(batch),
      onSpooled: () => replayer.wake(),
      onStuck: updateAvailability
    })
    const batcher: Batcher = new Batcher({
      limits: { ...config, batchBytesMax: BATCH_BYTES_MAX, batchesInFlightMax: BATCHES_IN_FLIGHT_MAX },
      ledger,
      commit: journal.commit,
      monotonicMs: clock.monotonicMs,
      onPressure: (isClosed) => isClosed ? broker.pauseReading() : broker.resumeReading(),
      onBatch: (batch) => observers.observeBatch(batch),
      onSpooled: (units) => replayer.add(units)
    })
    const replayer = new Replayer({ ...config, spool, circuit, ledger, logger, write: journal.writeInTime, isBusy: () => batcher.isBusy })
    const ingest = createIngest({
      batcher,
      caps,
      ledger,
      clock,
      nameHints,
      onDurable: (durationMs) => observers.observeAck(durationMs),
      fanOut: (device, payload) => broker.publish({ topic: `vital/${device}`, payload, qos: 1 })
    })
    const broker = createBroker({
      ...transport.broker,
      ingest: ingest.acceptPublish,
      limits: config.brokerLimits,
      deniedFilters: config.deniedFilters,
      authenticate: security.authenticateMqtt,
      refusals: security.refusals,
      version: packageJson.version,
      logger
    })
    const erasure = createErasure({
      batcher,
      circuit,
      spool,
      spoolDirectory: join(config.dataDir, 'spool'),
      writes: writer,
      refusedLetters,
      journal: createErasureJournal(config.dataDir),
      forget: broker.forget,
      forgetOrder: pages.forget,
      connectionString,
      applicationName,
      waitMaxMs: ERASURE_WAIT_MAX_MS,
      isStopping,
      logger
    })
    const warnings = () => [...config.warnings, ...databaseWarnings, ...partitions.warnings(), ...transport.warnings(), ...security.warnings(), ...clock.warnings(), ...caps.warnings(), ...refusedLetters.warnings(), ...toWarnings(circuit, spool)]
    const startedAtMs = clock.nowMs()
    const metrics = createMetrics()
    addProcessMetrics(metrics)
    addOperationsMetrics(metrics, () => ({
      startedAtMs, warnings: warnings().length, clockDifferenceS: clock.differenceS(), retention: retention.removed()
    }))
    const observers = addIngestMetrics(metrics, () => ({
      ledger, pending: batcher.pending + replayer.pending, batcher, caps, nearMissNames: nameHints.count()
    }))
    addJournalMetrics(metrics, () => ({ circuit, spool, replayer, refusedLetters }))
    addReadsMetrics(metrics, () => ({ budget, pages }))
    addSecurityMetrics(metrics, security.statistics)
    addTransportMetrics(metrics, transport.statistics)
    addBrokerMetrics(metrics, broker.statistics)
    const http = transport.createHttp(broker.accept, security.authenticateHttp, {
      ingest: ingest.acceptPost,
      requestsPerSecondMax: config.httpRequestsPerSecondMax,
      refusals: security.refusals,
      ...reads,
      erase: erasure.erase,
      health: () => ({
        live: true,
        ready: isReady(),
        database: { status: circuit.state === 'closed' ? 'up' : 'down', circuit: circuit.state },
        spool: { status: spool.status, bytes: spool.bytes, bytesMax: config.spoolBytesMax, readings: replayer.pending },
        warnings: warnings()
      }),
      metrics: () => metrics.render(),
      logger,
      version: packageJson.version
    })
    const maintenance = createMaintenance({
      logger,
      tasks: [
        partitions.task,
        { name: 'dead-letter counts', intervalMs: MINUTE_MS, run: async () => caps.load(await budget.background(countDeadLetters)) },
        ...security.tasks,
        ...retention.tasks
      ]
    })

    async function connectDatabase (): Promise<void> {
      databaseWarnings = await prepareDatabase({ database, connectionString, caps, clock, partitions, signal, logger })
      await security.start()
      circuit.prove()
      circuit.start()
      maintenance.start()
      pages.start()
    }

    onStop(async () => {
      maintenance.stop()
      await broker.stopListening()
      const httpStopped = http.stop()
      broker.pauseReading()
      await batcher.drain(DRAIN_TIMEOUT_MS)
      const { pending } = batcher
      if (pending > 0) logger.error({ pending }, 'stopped before everything was durable; the devices keep what was not acknowledged')
      batcher.stop()
      journal.stop()
      await broker.stop()
      await httpStopped
      await erasure.settled()
      circuit.stop()
      await replayer.stop()
      await Promise.all([security.stop(), pages.stop()])
    })
    onStop(await connectWhenever({ connect: connectDatabase, signal, logger }))
    await spoolWatch.start()
    if (security.isExposed) throw new ConfigError(exposedMessage(config.host))
    replayer.start()
    signal.throwIfAborted()
    const mqtt = await broker.start()
    signal.throwIfAborted()
    const { port: httpPort, adminPort } = await http.start()
    onStop(sayReady({ isReady, logger }))
    return { mqttPort: mqtt.port, mqttsPort: mqtt.securePort, httpPort, adminPort }
  }

  return {
    /**
     * @returns once every listener accepts; `ready` is logged when durability can be promised to a device that comes in
     * @throws coded errors whose message tells a person what to do
     */
    start: () => start(startParts),
    /** Settles when everything has ended; what was accepted is durable and acknowledged, or was not acknowledged. */
    stop,
    /** Reads again what may have changed on disk, at any stage of the gateway's life. */
    reload: () => reload()
  }
}
