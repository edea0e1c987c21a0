import type { Duplex } from 'node:stream'
import { Aedes, type Client } from 'aedes'
import type { Logger } from 'pino'
import type { Principal } from '../schemas/principal.ts'
import type { Announcement, Rejection } from '../schemas/rejection.ts'
import { allowDeepTopics } from './aedes-client.ts'
import { observeAedes } from './aedes-events.ts'
import type { Authenticate } from './connect/credentials.ts'
import { LoginRefusals } from './connect/login-refusals.ts'
import { createLogins } from './connect/logins.ts'
import type { PrincipalReview, Revocations } from './connect/revocations.ts'
import { createConnectStages } from './connect/stages.ts'
import type { Cluster } from './cluster.ts'
import { type ConnectionObserver, Connections } from './connections.ts'
import { createDeliverer, type Deliverer } from './deliver/deliverer.ts'
import { createFanOut } from './deliver/fan-out.ts'
import { createSubscriptionGuard } from './deliver/subscription-guard.ts'
import type { Ingest } from './ingest.ts'
import { LimitHits } from './limit-hits.ts'
import { type BrokerLimits, DEFAULT_LIMITS } from './limits.ts'
import type { IsTrusted } from './listen/address.ts'
import { createListeners, type TlsBinding } from './listen/listeners.ts'
import type { Origin } from './listen/origin.ts'
import { createAnnouncements } from './publish/announcements.ts'
import { createTraffic } from './publish/packet-scanner.ts'
import { createPublishing } from './publish/publishing.ts'
import { createMqtt5 } from './mqtt5/mqtt5.ts'
import { Wills } from './mqtt5/wills.ts'
import { createServeConnection } from './serve-connection.ts'
import { createPersistence } from './session/aedes-persistence.ts'
import { RetainedMessages } from './session/retained.ts'
import type { Sessions } from './session/sessions.ts'
import { type BrokerStatistics, createStatisticsPublisher, readStatistics } from './statistics.ts'
import { deviceOf, isOfDevice, vitalTopic } from './topics.ts'
import { createViolations } from './violations.ts'
import { createKeptWills, type IsCurrent } from './wills/kept-wills.ts'

/** What {@link createBroker} needs. */
export interface BrokerOptions {
  readonly host: string
  /** 0 picks a free port. */
  readonly port: number
  /** MQTT inside TLS, beside plain MQTT. */
  readonly secure?: TlsBinding | undefined
  /** Peers of either listener that must send a PROXY header first; without it, no peer must. */
  readonly isProxy?: IsTrusted | undefined
  readonly ingest: Ingest
  /** Published as `$SYS/broker/version`. */
  readonly version: string
  readonly logger: Logger
  /** Instead of {@link DEFAULT_LIMITS}, one by one. */
  readonly limits?: Partial<BrokerLimits>
  /** Filters that no client may subscribe to; answered with 0x80. */
  readonly deniedFilters?: readonly string[]
  /** Without it every client is accepted, and may do everything. */
  readonly authenticate?: Authenticate | undefined
  /** Asked before the will of a client of a dead gateway is published; without it every principal counts. */
  readonly isCurrent?: IsCurrent | undefined
  /** Where refused logins are counted and logged. */
  readonly refusals?: LoginRefusals
  /** Told of clients that connect and leave. */
  readonly observers?: readonly ConnectionObserver[]
  /** The other gateways; without it this one stands alone. Started and stopped with the broker. */
  readonly cluster?: Cluster | null
  /** Called with each rejection that subscribers of `vital/{device}/rejected` get. */
  readonly onRejected?: (device: string, rejection: Rejection) => void
}

/** The MQTT broker. `stop` ends everything that it started. */
export interface Broker {
  /** Listens. @throws what `listen` failed with, such as `EADDRINUSE` */
  start (): Promise<{ address: string, port: number, securePort: number | null }>
  /** Accepts no new connection; open ones stay. */
  stopListening (): Promise<void>
  /**
   * Takes a connection of another listener, such as a WebSocket, that has not been read from. Destroyed once the broker
   * stops listening.
   */
  accept (stream: Duplex, origin: Origin): void
  /** Stops reading PUBLISH packets from clients; up to one socket buffer per client may still come. */
  pauseReading (): void
  resumeReading (): void
  /**
   * Delivers to subscribers, without ingest.
   * @returns settles once Redis has its deliveries to persistent sessions; `null`: there is nothing to wait for
   */
  publish (message: { topic: string, payload: Buffer, qos: 0 | 1 | 2 }): Promise<void> | null
  /** Announces a refusal that came after the acknowledgement, on `vital/{device}/rejected`. Called at every gateway. */
  announce (announcement: Announcement): void
  /** Closes the connections of these principals (`null`: of the open mode), those being authenticated included. */
  disconnect (predicate: (principal: Principal | null) => boolean): void
  /**
   * Closes the connections of principals that must leave, and sets the new end of the others.
   * @param ids - principals to review; without it, all
   */
  review (review: PrincipalReview, ids?: ReadonlySet<string>): void
  /** Principals of all open connections that are authenticated; `null`: of the open mode. */
  principals (): Array<Principal | null>
  /** Drops a device's retained message, and its messages in the queues of sessions. @returns how many of each */
  forget (device: string): { retained: number, queued: number }
  /**
   * Closes clients and broker. Publishes that were settled before are acknowledged, a later verdict is ignored.
   * Wills are not published: their clients did not fail.
   */
  stop (): Promise<void>
  statistics (): BrokerStatistics
}

/** Checks of sessions within `sessionExpiryMs`, so that a session outlives it by at most a tenth. */
const EXPIRY_CHECKS = 10
/** Longest that a connection outlives its token. */
const CREDENTIAL_CHECK_MS = 1000
/** Between checks of sessions, wills and retained messages of MQTT 5 clients, whose times are whole seconds. */
const MQTT5_EXPIRY_CHECK_MS = 250

/** Composes an {@link Aedes} whose acknowledgements wait for `ingest`. See README.md in this folder. */
export function createBroker (options: BrokerOptions): Broker {
  const { host, port, ingest, version, logger, cluster = null, onRejected = () => {} } = options
  const limits: BrokerLimits = { ...DEFAULT_LIMITS, ...options.limits }
  const traffic = createTraffic()
  const connections = new Connections([createConnectionLog(logger), ...options.observers ?? []], cluster?.changed)
  const hits = new LimitHits()
  const violations = createViolations({ hits, logger })
  const retained = new RetainedMessages({
    limits, onRefused: violations.notRetained, ...(cluster !== null && { onChanged: cluster.retainedChanged })
  })
  const wills = new Wills({ limits, hits, onChanged: cluster?.changed })
  const sessionObserver = {
    ended: (clientId: string) => { wills.fire(clientId) },
    attached: (clientId: string) => { wills.cancel(clientId) },
    changed: cluster?.changed ?? (() => {})
  }
  const deliverer = createDeliverer({ connections, retained, hits, limits, logger, sessionObserver, cluster })
  const { sessions, isWatched } = deliverer
  const fanOut = createFanOut(() => aedes, logger)
  const shared = { connections, deliverer, cluster, retained, fanOut, traffic, violations, hits, limits, logger }
  const publishing = createPublishing({ ...shared, sessions, ingest, onRejected, isWatched })
  const { gates, hold, publishes, toFastPath } = publishing
  const subscriptionGuard = createSubscriptionGuard({
    connections, sessions, deliverer, deniedFilters: options.deniedFilters ?? [], hits, limits
  })
  const { authentication, revocations, loginDelays, heldLogins } = createLogins({
    connections,
    sessions,
    cluster,
    authenticate: options.authenticate,
    refusals: options.refusals ?? new LoginRefusals(logger),
    onBridgeState: violations.bridgeState,
    hits,
    limits,
    logger
  })
  const sessionOf = (client: Client) => connections.of(client)?.subscriber.session ?? null
  const aedes = new Aedes({
    mq: deliverer.emitter,
    concurrency: 0,
    persistence: createPersistence({ retained, sessions, sessionOf, whenCopied: cluster?.whenCopied ?? (() => null) }),
    connectTimeout: limits.connectTimeoutMs,
    drainTimeout: limits.drainTimeoutMs,
    maxInflightInbound: limits.inboundQos2PerClientMax,
    preConnect: authentication.preConnect,
    authenticate: authentication.authenticate,
    authorizePublish: publishes.authorizePublish,
    authorizeSubscribe: subscriptionGuard.authorizeSubscribe
  })
  // Below `vital/` a deep topic becomes a dead letter; authorize-publish.ts and subscription-guard.ts bound the others.
  allowDeepTopics(aedes)
  observeAedes({ aedes, connections, deliverer, subscriptionGuard, hits, logger })
  const serve = createServeConnection({ aedes, connections, gates, hold, toFastPath, subscriptionGuard, deliverer })
  const mqtt5 = createMqtt5({ ...shared, authentication, publishing, subscriptionGuard, wills })
  const stages = createConnectStages({ verify: authentication.verifyFirst, serve, mqtt5, traffic, hits, limits, logger })
  const listeners = createListeners({
    host, port, secure: options.secure, isProxy: options.isProxy, limits, onConnection: stages.admit, logger
  })
  const statistics = () => readStatistics({
    ...shared, stages, listeners, publishes, loginDelays, heldLogins, subscriptionGuard, wills, mqtt5
  })
  const statisticsPublisher = createStatisticsPublisher({
    fanOut, read: statistics, elsewhere: () => cluster?.statisticsElsewhere() ?? [], version, intervalMs: limits.statisticsIntervalMs
  })
  let timers: NodeJS.Timeout[] = []
  const forgetHere = createForgetting(retained, deliverer)
  const deliverHere = deliverer.emitter.route
  const announce = createAnnouncements({ cluster, fanOut, deliverHere, onRejected })
  const keptWills = createKeptWills({ ...shared, wills, hold, publishes, isCurrent: options.isCurrent })
  cluster?.attach({ connections, sessions, retained, wills: keptWills, statistics, deliverHere, forgetHere })

  async function stopListening (): Promise<void> {
    stages.stop()
    await listeners.stop()
  }

  return {
    async start () {
      await aedes.listen()
      await cluster?.start()
      const bound = await listeners.start().catch(async (error: unknown) => {
        await closeAedes(aedes)
        throw error
      })
      statisticsPublisher.start()
      timers = startTimers({ sessions, revocations, retained, wills, limits })
      return bound
    },
    stopListening,
    accept: stages.admit,
    pauseReading () { gates.pause() },
    resumeReading () { gates.resume() },
    disconnect (predicate) {
      revocations.review((principal) => predicate(principal) ? 0 : undefined)
      wills.drop(predicate)
    },
    review (review, ids) {
      revocations.review(review, ids)
      wills.review(review, ids)
    },
    principals: () => [...connections.open]
      .flatMap(({ access: { principal } }) => principal === undefined ? [] : [principal]),
    publish ({ topic, payload, qos }) {
      if (deviceOf(topic) !== null && !isWatched(topic)) return null
      fanOut({ topic, payload, qos, retain: false })
      return cluster?.whenCopied() ?? null
    },
    announce,
    forget (device) {
      cluster?.forget(device)
      return forgetHere(device)
    },
    async stop () {
      await stopListening()
      gates.pause()
      statisticsPublisher.stop()
      for (const timer of timers) clearInterval(timer)
      await flush(connections, limits.stopFlushMs)
      hold.stop()
      // Another gateway publishes those that wait.
      if (cluster === null) wills.clear()
      closeAll(connections, cluster)
      await closeAedes(aedes)
      await cluster?.stop()
    },
    statistics
  }
}

/** @returns drops a device's retained message, and its messages in the queues of sessions */
function createForgetting (retained: RetainedMessages, deliverer: Deliverer) {
  return (device: string): { retained: number, queued: number } => ({
    retained: retained.clear(vitalTopic(device)) ? 1 : 0,
    queued: deliverer.drop((queued) => isOfDevice(queued, device))
  })
}

/** Closes connections whose clients did not fail, so their wills are dropped. */
function closeAll (connections: Connections, cluster: Cluster | null): void {
  for (const connection of connections.open) {
    const { client, access } = connection
    client.dropWill()
    connection.destroy('stopping')
    // It may close in a later turn, when the last changes are written.
    if (access.principal !== undefined) cluster?.changed(client.id)
  }
}

function closeAedes (aedes: Aedes): Promise<void> {
  return new Promise((resolve) => { aedes.close(resolve) })
}

/** Starts the timers that end sessions, credentials, wills and retained messages. */
function startTimers ({ sessions, revocations, retained, wills, limits }: {
  readonly sessions: Sessions
  readonly revocations: Revocations
  readonly retained: RetainedMessages
  readonly wills: Wills
  readonly limits: BrokerLimits
}): NodeJS.Timeout[] {
  return [
    setInterval(() => { sessions.expire(performance.now()) }, limits.sessionExpiryMs / EXPIRY_CHECKS),
    setInterval(() => { revocations.expire(Date.now()) }, CREDENTIAL_CHECK_MS),
    setInterval(() => {
      const nowMs = performance.now()
      sessions.expireEarly(nowMs)
      wills.publishDue(nowMs)
      retained.expire()
    }, MQTT5_EXPIRY_CHECK_MS)
  ]
}

/** Waits until the kernel has taken all writes, at most `timeoutMs`. */
async function flush (connections: Connections, timeoutMs: number): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs
  const isPending = () => [...connections.open].some(({ socket }) => socket.writableLength > 0 && !socket.destroyed)
  // One turn for writes that are corked until the next tick.
  do await new Promise((resolve) => { setTimeout(resolve, 5) })
  while (isPending() && performance.now() < deadlineMs)
}

function createConnectionLog (logger: Logger): ConnectionObserver {
  return {
    connected ({ clientId, origin: { remoteAddress } }) {
      logger.debug({ clientId, remoteAddress }, 'client connected')
    },
    disconnected ({ clientId, origin: { remoteAddress } }, reason) {
      logger.debug({ clientId, remoteAddress, reason }, 'client disconnected')
    }
  }
}
