import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import type { Logger } from 'pino'
import { createBroker } from '../broker/broker.ts'
import { toGatewayName } from '../db/gateway-names.ts'
import packageJson from '../package.json' with { type: 'json' }
import { createClock } from './clock.ts'
import type { Config } from './config/config.ts'
import { ConfigError } from './config/config-error.ts'
import { createEvents } from './events/events.ts'
import { EVENTS_LIMITS } from './events/limits.ts'
import { createFleetChanges } from './http/page/fleet-changes.ts'
import { createPipeline } from './ingest/pipeline.ts'
import { addProcessMetrics, createMetrics } from './metrics/metrics.ts'
import { connectWhenever } from './operations/connect-database.ts'
import { announceReady } from './operations/announce-ready.ts'
import { createReadiness } from './operations/readiness.ts'
import { createOperations } from './operations/operations.ts'
import { fitConnections } from './process/descriptors.ts'
import { createLifecycle } from './process/lifecycle.ts'
import { createRecordingsPlayer } from './process/recordings-player.ts'
import { createReads } from './reads/reads.ts'
import { exposedMessage } from './security/access.ts'
import { createSecurity } from './security/security.ts'
import { openStorage, type StorageFaults } from './storage.ts'
import { addBrokerMetrics } from './transport/broker-metrics.ts'
import { createTransport } from './transport/transport.ts'

const NOT_YET_READY = 'not ready until PostgreSQL answers: no client can be authenticated, or nothing can be made durable; see ' +
  '/health/ready'

/** A running gateway. */
export interface RunningGateway {
  readonly mqttPort: number
  readonly httpPort: number
  /** Port of MQTT inside TLS; `null` without that listener. */
  readonly mqttsPort: number | null
  /** Port of metrics and health; `null` without a listener of their own. */
  readonly adminPort: number | null
  /** `null`: gRPC is off. */
  readonly grpcPort: number | null
  readonly connectionString: string
}

export interface GatewayOptions {
  readonly config: Config
  readonly logger: Logger
  /** Path of the program `vital-gateway`. The live page can play recordings only if it is given. */
  readonly program?: string | undefined
  /** Wrappers through which tests inject faults. */
  readonly faults?: StorageFaults & { readonly nowMs?: () => number }
}

/**
 * The composition root: builds every part and wires them. Nothing runs before `start`. `stop` ends everything that
 * `start` began, in an order that keeps the promise: reading stops, accepted readings are committed and acknowledged,
 * and only then are connections and storage closed.
 */
export function createGateway ({ config: given, logger, program, faults = {} }: GatewayOptions) {
  const config = fitConnections(given)
  const applicationName = toGatewayName({ host: hostname(), pid: process.pid, id: randomBytes(6).toString('hex') })
  const lifecycle = createLifecycle()
  const { signal, onStop } = lifecycle
  const isStopping = () => signal.aborted
  const metrics = createMetrics()
  let reload: () => Promise<void> = async () => {}
  /** Where MQTT listens, once it does. */
  let mqtt: { port: number, securePort: number | null } | null = null

  /** The parts that take readings in and store them. */
  async function createTraffic () {
    const clock = createClock({ ownMs: faults.nowMs ?? Date.now, monotonicMs: () => performance.now(), logger })
    const storage = await openStorage({ config, createReads, applicationName, lifecycle, clock, metrics, faults, logger })
    const { database } = storage
    for (const warning of [...config.warnings, ...config.notices]) logger.warn(warning)
    const transport = await createTransport({ config, applicationName, metrics, logger })
    reload = transport.reload
    const { hasClientCertificates } = transport
    const security = await createSecurity({
      ...config, kysely: database.kysely, isProxied: config.transport.trustedProxies.length > 0, hasClientCertificates, metrics, logger
    })
    const listenersMax = Math.min(EVENTS_LIMITS.listenersMax, Math.floor(config.httpConnectionsMax / 2))
    const events = createEvents({ untilOf: security.untilOf, limits: { listenersMax }, metrics, logger })
    storage.observeStored(events.observe)
    const changes = createFleetChanges()
    const pipeline = createPipeline({
      ...storage, ackAfter: config.journal.ackAfter, limits: config, clock, onDurable: changes.observe, metrics, logger
    })
    const broker = createBroker({
      ...transport.broker,
      ingest: pipeline.acceptPublish,
      limits: config.brokerLimits,
      deniedFilters: config.deniedFilters,
      ...security.ofMqtt,
      refusals: security.refusals,
      observers: [events.connections],
      onRejected: toBoth(events.rejected, changes.rejected),
      version: packageJson.version,
      logger
    })
    addBrokerMetrics(metrics, broker.statistics)
    pipeline.attach(broker)
    security.guard(broker)
    security.guard(events.guarded)
    return { ...storage, clock, transport, security, events, changes, pipeline, broker }
  }

  async function startParts (): Promise<RunningGateway> {
    const { reads, transport, security, events, changes, broker, clock, pipeline, kafka, ...storage } = await createTraffic()
    const shared = { ...config, pipeline, isStopping, metrics, logger }
    const { forget } = broker
    const { tasks } = security
    const operations = createOperations({
      ...shared, ...storage, kafka, reads, clock, applicationName, forget, onErased: toBoth(events.forget, changes.forget), tasks, signal
    })
    const warnings = () => [
      ...config.warnings, ...[reads, operations, transport, security, clock, pipeline].flatMap((part) => part.warnings())
    ]
    const isAdmitting = () => security.isAdmitting
    const readiness = createReadiness({ ...shared, isAdmitting, warnings, startedAtMs: clock.nowMs() })
    addProcessMetrics(metrics)
    const recordings = program === undefined ? null : createRecordingsPlayer({ program, mqttPort: () => mqtt?.port ?? null, logger })
    const http = transport.createHttp(broker.accept, security.authenticateHttp, {
      ingest: pipeline.acceptPost,
      requestsPerSecondMax: config.httpRequestsPerSecondMax,
      refusals: security.refusals,
      ...reads.routes,
      erase: (device, actor) => reads.aroundErasure(device, () => operations.erase(device, actor)),
      events,
      health: readiness.health,
      page: { limits: config.vitalLimits, mqtt: () => mqtt, changes, recordings },
      metrics: metrics.render,
      version: packageJson.version,
      logger
    })

    const isReady = () => readiness.health().ready
    const grpc = await transport.createGrpc({ security, pipeline, isReady, isStopping })
    async function connect (): Promise<void> {
      await operations.prepareDatabase()
      await security.start()
      if (kafka === null) pipeline.takeTarget()
      operations.start()
      reads.start()
    }
    onStop(async () => {
      recordings?.stop()
      operations.stop()
      events.stop()
      await broker.stopListening()
      const httpStopped = http.stop()
      grpc?.stopListening()
      for (const reader of [broker, grpc]) reader?.pauseReading()
      await pipeline.drain()
      await Promise.all([broker.stop(), grpc?.stop()])
      await httpStopped
      await operations.settled()
      await pipeline.stop().then(operations.leave)
      await Promise.all([security.stop(), reads.stop()])
    })
    if (kafka !== null) pipeline.takeTarget(await kafka.connect())
    const told = `PostgreSQL does not answer; readings go to ${kafka === null ? 'the spool until it does' : 'Kafka all the same'}`
    onStop(await connectWhenever({ connect, told, signal, logger }))
    if (security.isExposed) throw new ConfigError(exposedMessage(config.host))
    await pipeline.start()
    await http.prepare()
    signal.throwIfAborted()
    const { port: mqttPort, securePort: mqttsPort } = mqtt = await broker.start()
    signal.throwIfAborted()
    const { port: httpPort, adminPort } = await http.start()
    const grpcPort = (await grpc?.start())?.port ?? null
    onStop(await kafka?.announceRejections(broker.announce) ?? (() => {}))
    onStop(announceReady({ isReady, logger, notYet: NOT_YET_READY }))
    return { connectionString: storage.connectionString, mqttPort, mqttsPort, httpPort, adminPort, grpcPort }
  }

  return {
    /**
     * @returns once every listener accepts; `ready` is logged when durability can be promised to a device that connects
     * @throws coded errors whose message states the remedy
     */
    start: () => lifecycle.start(startParts),
    /** Settles when everything has ended; accepted readings are durable and acknowledged, or were not acknowledged. */
    stop: lifecycle.stop,
    /** Reads again the files that may have changed on disk, at any stage of the gateway's life. */
    reload: () => reload()
  }
}

/** Calls every listener with the same arguments. */
function toBoth<A extends unknown[]> (...listeners: ReadonlyArray<(...told: A) => void>): (...told: A) => void {
  return (...told) => { for (const listener of listeners) listener(...told) }
}
