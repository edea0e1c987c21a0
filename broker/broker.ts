import type { EventEmitter } from 'node:events'
import type { Duplex } from 'node:stream'
import { Aedes, type Client, type ConnackPacket } from 'aedes'
import type { Logger } from 'pino'
import { AcknowledgementQueue } from './publish/acknowledgement-queue.ts'
import type { IsTrusted } from './listen/address.ts'
import { createAdmission } from './connect/admission.ts'
import { type Authenticate, createAuthentication } from './connect/authentication.ts'
import { claimOf } from './connect/authorisation.ts'
import { closeSoon, type Connection, Connections, createConnection, letGo, readOn } from './connections.ts'
import { HeldLogins } from './connect/held-logins.ts'
import { createDeliverer } from './deliver/deliverer.ts'
import { LoginRefusals } from './connect/login-refusals.ts'
import { createExpress } from './publish/fast-path.ts'
import type { PrincipalReview } from './connect/revocations.ts'
import type { Principal } from '../schemas/principal.ts'
import { createTraffic, type FrameViolation, noteConnect } from './publish/packet-scanner.ts'
import type { Ingest } from './ingest.ts'
import { LimitHits } from './limit-hits.ts'
import { type BrokerLimits, DEFAULT_LIMITS } from './limits.ts'
import { createListeners, type TlsBinding } from './listen/listeners.ts'
import type { Login } from './connect/login.ts'
import { createLogins } from './connect/login-delays.ts'
import { Newcomers } from './connect/first-byte.ts'
import { createOffences } from './violations.ts'
import type { Origin } from './listen/origin.ts'
import { createPersistence } from './session/aedes-persistence.ts'
import { ReadGates } from './publish/read-gate.ts'
import { Reception } from './connect/first-packet.ts'
import { RetainedMessages } from './session/retained.ts'
import { type BrokerStatistics, createStatisticsPublisher } from './statistics.ts'
import { createSubscriber, type FanOut } from './publish/hold-until-durable.ts'
import { createSubscriptionGuard } from './deliver/subscription-guard.ts'
import { deviceOf } from './topics.ts'
import { PUBLISH } from './wire.ts'

/** What {@link createBroker} needs. */
export interface BrokerOptions {
  readonly host: string
  /** 0 picks a free port. */
  readonly port: number
  /** MQTT inside TLS, beside plain MQTT. */
  readonly secure?: TlsBinding | undefined
  /** Peers of either listener that must begin with a PROXY header; without it there are none. */
  readonly isProxy?: IsTrusted | undefined
  readonly ingest: Ingest
  /** Told below `$SYS/broker/version`. */
  readonly version: string
  readonly logger: Logger
  /** Instead of {@link DEFAULT_LIMITS}, one by one. */
  readonly limits?: Partial<BrokerLimits>
  /** Filters that nobody may subscribe to; answered with 0x80. */
  readonly deniedFilters?: readonly string[]
  /** Without it everyone is accepted, and may do everything. */
  readonly authenticate?: Authenticate | undefined
  /** Where refused logins are counted and logged. */
  readonly refusals?: LoginRefusals
}

/** The MQTT broker. Everything it started, `stop` stops. */
export interface Broker {
  /** Listens. @throws what `listen` failed with, such as `EADDRINUSE` */
  start (): Promise<{ address: string, port: number, securePort: number | null }>
  /** Accepts no new connection; those that are there stay. */
  stopListening (): Promise<void>
  /** Takes a connection of another listener, such as a WebSocket; nobody may have read from it yet. Destroyed once the broker stops listening. */
  accept (stream: Duplex, origin: Origin): void
  /** Stops reading PUBLISH packets from clients; up to one socket buffer per client may still come. */
  pauseReading (): void
  resumeReading (): void
  /** Delivers to subscribers, without ingest. */
  publish (message: { topic: string, payload: Buffer, qos: 0 | 1 | 2 }): void
  /** Closes the connections of these principals (`null`: of nobody in particular), those being authenticated included. */
  disconnect (predicate: (principal: Principal | null) => boolean): void
  /** Principals changed: closes the connections of those that must go, and gives others their new end. @param ids - whose connections; all without */
  review (review: PrincipalReview, ids?: ReadonlySet<string>): void
  /** Of every open connection whose principal is known. */
  principals (): Array<Principal | null>
  /** Drops a device's retained message, and what is queued of it for clients that are away or slow. @returns how many of each */
  forget (device: string): { retained: number, queued: number }
  /**
   * Closes clients and broker. What was settled before is acknowledged, a verdict that comes later is not.
   * Wills are not published: their clients did not fail.
   */
  stop (): Promise<void>
  statistics (): BrokerStatistics
}

/** Sessions are looked over so many times within `sessionExpiryMs`, so one outlives it by a tenth at most. */
const EXPIRY_CHECKS = 10
/** CONNACK 1 (MQTT 3.1.1 §3.2.2.3). */
const UNACCEPTABLE_PROTOCOL_LEVEL = Buffer.from([0x20, 2, 0, 1])
/** A connection outlives its token by so much at most. */
const CREDENTIAL_CHECK_MS = 1000

/** Composes an {@link Aedes} whose acknowledgements wait for `ingest`. See README.md in this folder. */
export function createBroker (options: BrokerOptions): Broker {
  const { host, port, ingest, version, logger } = options
  const limits: BrokerLimits = { ...DEFAULT_LIMITS, ...options.limits }
  const traffic = createTraffic()
  const connections = new Connections()
  const hits = new LimitHits()
  const gates = new ReadGates({
    traffic,
    connectPacketBytesMax: limits.connectPacketBytesMax,
    packetBytesMax: limits.packetBytesMax,
    rates: limits,
    onViolation: condemn,
    onRest: (of) => { hits.hit(`${of}_per_second`) }
  })
  const offences = createOffences({ hits, logger })
  const retained = new RetainedMessages({ limits, onRefused: offences.notRetained })
  const deliverer = createDeliverer({ connections, retained, hits, limits, logger })
  const { sessions, isWatched } = deliverer
  const fanOut: FanOut = (packet) => {
    aedes.publish({ cmd: 'publish', dup: false, ...packet }, (error) => {
      if (error) logger.debug({ topic: packet.topic, reason: error.message }, 'message not published')
    })
  }
  const subscriber = createSubscriber({
    ingest,
    fanOut,
    onForbidden: offences.forbidden,
    onBridgeState: offences.bridgeState,
    noteInbound,
    hits,
    limits
  })
  const express = createExpress({
    connections,
    subscriber,
    fanOut,
    isWatched,
    traffic,
    packetBytesMax: limits.packetBytesMax
  })
  const subscriptionGuard = createSubscriptionGuard({
    connections, sessions, deliverer, deniedFilters: options.deniedFilters ?? [], hits, limits
  })
  const logins = createLogins({ limits, hits, refusals: options.refusals ?? new LoginRefusals(logger), logger })
  const heldLogins = new HeldLogins({ limits, hits, logger })
  const authentication = createAuthentication({
    limits, hits, connections, sessions, logins, held: heldLogins, authenticate: options.authenticate, onBridgeState: offences.bridgeState, logger
  })
  const aedes = new Aedes({
    mq: deliverer.emitter,
    concurrency: 0,
    persistence: createPersistence({ retained, sessions, sessionOf: (client) => connections.of(client)?.session ?? null }),
    connectTimeout: limits.connectTimeoutMs,
    drainTimeout: limits.drainTimeoutMs,
    maxInflightInbound: limits.inboundQos2PerClientMax,
    preConnect: authentication.preConnect,
    authenticate: authentication.authenticate,
    authorizePublish: express.authorizePublish,
    authorizeSubscribe: subscriptionGuard.authorizeSubscribe
  })
  // Aedes would close the client of a publish with more than 100 levels before the hook; below `vital/` it must become
  // a dead letter instead. What is relayed or subscribed to is checked by our own guards.
  Object.assign(aedes, { maxTopicLevels: Infinity })
  observe()

  const reception = new Reception({
    connectPacketBytesMax: limits.connectPacketBytesMax, receive: authentication.receive, serve, onRefused: (bytes) => { noteConnect(traffic, bytes) }
  })
  const newcomers = new Newcomers({ timeoutMs: limits.connectTimeoutMs, serve: reception.accept, onTimeout: () => { hits.hit('connect_time') } })
  const admission = createAdmission({ limits, hits, serve: newcomers.receive, logger })
  const listeners = createListeners({
    host, port, secure: options.secure, isProxy: options.isProxy, limits, onConnection: admission.admit, logger
  })
  const statisticsPublisher = createStatisticsPublisher({
    fanOut, read: statistics, version, intervalMs: limits.statisticsIntervalMs
  })
  let timers: NodeJS.Timeout[] = []

  function serve (socket: Duplex, origin: Origin, login: Login | null): void {
    const gate = gates.guard(socket)
    const held = new AcknowledgementQueue(subscriber)
    const connection = createConnection({ client: aedes.handle(socket), socket, origin, gate, held, login })
    gate.use(express.createLane(connection))
    connections.add(connection)
    socket.once('close', () => { forget(connection) })
    readOn(connection.client)
  }

  function forget (connection: Connection): void {
    const { client, gate, login, attached } = connection
    login?.end()
    gate.close()
    connections.remove(connection)
    subscriptionGuard.forget(connection)
    deliverer.close(connection)
    if (attached) sessions.detach(client.id, performance.now())
    letGo(client)
  }

  function noteInbound ({ client, principal = null }: Connection, messageId: number): boolean {
    const holder = connections.holderOf(client.id)
    const owner = holder === undefined ? sessions.ownerOf(client.id) : holder.principal
    // A clean session or somebody else has the client id now, and their packet ids are not these.
    if (holder?.client.clean === true || (owner !== undefined && claimOf(principal, owner) !== 'resume')) return true
    return sessions.addInboundOfAbsent(client.id, principal, messageId, performance.now())
  }

  function condemn (connection: Connection, violation: FrameViolation): void {
    connection.condemned = true
    offences.violation(connection, violation)
    if (violation === 'protocol_level') connection.socket.write(UNACCEPTABLE_PROTOCOL_LEVEL)
    // The publishes that came before it in the same chunk are about to be held.
    setImmediate(() => { if (connection.held.size === 0) closeSoon(connection) })
  }

  function observe (): void {
    aedes.on('connackSent', ({ returnCode }: ConnackPacket, client: Client) => {
      const connection = connections.of(client)
      if (connection === undefined || returnCode !== 0 || !connections.ready(connection)) return
      connection.gate.open()
      deliverer.open(connection)
    })
    aedes.on('subscribe', subscriptionGuard.subscribed)
    aedes.on('unsubscribe', subscriptionGuard.unsubscribed)
    // Only the message: Aedes hangs the offending packet, payload and all, on some errors.
    const onClientError = (client: Client, error: Error) => {
      logger.debug({ clientId: client.id, reason: error.message }, 'connection closed')
    }
    aedes.on('clientError', onClientError)
    aedes.on('connectionError', onClientError)
    aedes.on('connectionError', (_client, { message }) => { if (message.startsWith('connect did not arrive')) hits.hit('connect_time') })
    aedes.on('keepaliveTimeout', () => { hits.hit('keepalive') })
    // Without a listener Aedes' own error would end the process.
    const emitter: EventEmitter = aedes
    emitter.on('error', (error: Error) => { logger.error({ err: error }, 'broker error') })
  }

  async function stopListening (): Promise<void> {
    admission.stop()
    newcomers.stop()
    reception.stop()
    await listeners.stop()
  }

  function closeAedes (): Promise<void> {
    return new Promise((resolve) => { aedes.close(resolve) })
  }

  async function flush (): Promise<void> {
    const deadlineMs = performance.now() + limits.stopFlushMs
    const isPending = () => [...connections.open].some(({ socket }) => socket.writableLength > 0 && !socket.destroyed)
    // One turn for writes that are corked until the next tick.
    do await new Promise((resolve) => { setTimeout(resolve, 5) })
    while (isPending() && performance.now() < deadlineMs)
  }

  function statistics (): BrokerStatistics {
    return {
      clientsConnected: connections.connected,
      connections: admission.open,
      connectionsRefused: listeners.counts.refused + admission.refused,
      handshakesRefused: listeners.counts.handshakesRefused,
      handshakesFailed: listeners.counts.handshakesFailed,
      proxyHeadersRefused: listeners.counts.proxyHeadersRefused,
      bytesReceived: traffic.bytesReceived,
      packetsReceived: traffic.packetsByType.reduce((sum, count) => sum + count, 0),
      publishesReceived: traffic.packetsByType[PUBLISH] as number,
      heldMessages: subscriber.heldMessages,
      publishesRelayed: subscriber.relayedMessages,
      publishersStopped: gates.stopped,
      limitViolations: offences.counts.violations,
      malformedPackets: offences.counts.malformed,
      // The listeners turn away what comes beyond connectionsMax before anybody else sees it.
      limitHits: new Map(hits.counts).set('connections', (hits.counts.get('connections') ?? 0) + listeners.counts.refused),
      loginsFailed: logins.counts.failed,
      loginsHeld: heldLogins.size,
      takeovers: logins.counts.takeovers,
      publishesForbidden: offences.counts.publishesForbidden,
      subscriptions: subscriptionGuard.subscriptions,
      subscriptionsRefused: subscriptionGuard.refused,
      deliveriesDropped: deliverer.dropped,
      deliveriesUnwritable: deliverer.unwritable,
      retainedMessages: retained.count,
      retainedBytes: retained.bytes,
      retainedRefused: retained.refused,
      sessions: sessions.subscribed,
      queuedMessages: deliverer.totals.messages,
      queuedBytes: deliverer.totals.bytes,
      queuedDropped: deliverer.totals.dropped
    }
  }

  return {
    async start () {
      await aedes.listen()
      const bound = await listeners.start().catch(async (error: unknown) => {
        await closeAedes()
        throw error
      })
      statisticsPublisher.start()
      timers = [
        setInterval(() => { sessions.expire(performance.now()) }, limits.sessionExpiryMs / EXPIRY_CHECKS),
        setInterval(() => { authentication.expire(Date.now()) }, CREDENTIAL_CHECK_MS)
      ]
      return bound
    },
    stopListening,
    accept: admission.admit,
    pauseReading () { gates.pause() },
    resumeReading () { gates.resume() },
    disconnect (predicate) { authentication.review((principal) => predicate(principal) ? 0 : undefined) },
    review: authentication.review,
    principals: () => [...connections.open].flatMap(({ principal }) => principal === undefined ? [] : [principal]),
    publish ({ topic, payload, qos }) {
      if (deviceOf(topic) === null || isWatched(topic)) fanOut({ topic, payload, qos, retain: false })
    },
    forget (device) {
      const topic = `vital/${device}`
      return {
        retained: retained.clear(topic) ? 1 : 0,
        queued: deliverer.drop((queued) => queued === topic || queued.startsWith(`${topic}/`))
      }
    },
    async stop () {
      await stopListening()
      gates.pause()
      statisticsPublisher.stop()
      for (const timer of timers) clearInterval(timer)
      await flush()
      subscriber.stop()
      for (const { socket } of connections.open) socket.destroy()
      await closeAedes()
    },
    statistics
  }
}
