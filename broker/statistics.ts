import type { SharedStatistics } from './cluster.ts'
import type { HeldLogins } from './connect/held-logins.ts'
import type { LoginDelays } from './connect/login-delays.ts'
import type { Connections } from './connections.ts'
import type { Deliverer } from './deliver/deliverer.ts'
import type { FanOut } from './deliver/fan-out.ts'
import type { SubscriptionGuard } from './deliver/subscription-guard.ts'
import type { LimitHits, LimitName } from './limit-hits.ts'
import type { ListenerCounts } from './listen/tcp-listener.ts'
import type { Wills } from './mqtt5/wills.ts'
import type { Traffic } from './publish/packet-scanner.ts'
import type { RetainedMessages } from './session/retained.ts'
import { STATISTICS_PREFIX } from './topics.ts'
import type { Violations } from './violations.ts'
import { PUBLISH } from './wire/fixed-header.ts'

/** Counters since the broker's start, and gauges, which say "now". */
export interface BrokerStatistics {
  /** Clients with a CONNACK, now. */
  readonly clientsConnected: number
  /** Open sockets, now. */
  readonly connections: number
  /** TLS handshakes refused, because too many were under way. */
  readonly handshakesRefused: number
  /** TLS handshakes that failed. */
  readonly handshakesFailed: number
  /** Connections of trusted proxies without a valid PROXY header. */
  readonly proxyHeadersRefused: number
  readonly bytesReceived: number
  readonly packetsReceived: number
  readonly publishesReceived: number
  /** Publishes and wills outside `vital/`, which are stored nowhere. */
  readonly publishesRelayed: number
  /** Connections closed for a packet that MQTT does not allow. */
  readonly malformedPackets: number
  /** How often each limit was met. */
  readonly limitHits: ReadonlyMap<LimitName, number>
  readonly loginsFailed: number
  /** Connections held because their credentials cannot be verified, now. */
  readonly loginsHeld: number
  /** Connections closed because their client id connected again. */
  readonly takeovers: number
  /** Connections closed for publishing on a topic that is not theirs. */
  readonly publishesForbidden: number
  /** Live subscriptions, now. */
  readonly subscriptions: number
  /** Deliveries dropped because their subscriber does not read. */
  readonly deliveriesDropped: number
  /** Deliveries dropped because their message cannot be encoded. */
  readonly deliveriesUnwritable: number
  readonly retainedMessages: number
  readonly retainedBytes: number
  readonly retainedRefused: number
  /** Sessions that hold subscriptions, now. */
  readonly sessions: number
  /** Shared subscriptions of MQTT 5, by share name and filter, now. */
  readonly sharedSubscriptions: number
  /** Wills that wait for their delay, now. */
  readonly delayedWills: number
  /** Topic aliases of all MQTT 5 connections, now. */
  readonly topicAliases: number
  /** Deliveries queued or in flight, now. */
  readonly queuedMessages: number
  readonly queuedBytes: number
}

/** Where {@link readStatistics} reads. */
interface StatisticsSources {
  readonly connections: Connections
  readonly stages: { readonly open: number }
  readonly listeners: { readonly counts: ListenerCounts }
  readonly traffic: Traffic
  readonly publishes: { readonly relayed: number }
  readonly violations: Violations
  readonly hits: LimitHits
  readonly loginDelays: LoginDelays
  readonly heldLogins: HeldLogins
  readonly subscriptionGuard: SubscriptionGuard
  readonly deliverer: Deliverer
  readonly retained: RetainedMessages
  readonly wills: Wills
  readonly mqtt5: { readonly topicAliases: number }
}

/** Gathers the statistics of all parts. */
export function readStatistics (sources: StatisticsSources): BrokerStatistics {
  const { connections, stages, listeners, traffic, publishes, violations, hits } = sources
  const { loginDelays, heldLogins, subscriptionGuard, deliverer, retained, wills, mqtt5 } = sources
  const { refused, ...handshakes } = listeners.counts
  return {
    clientsConnected: connections.connected,
    connections: stages.open,
    ...handshakes,
    bytesReceived: traffic.bytesReceived,
    packetsReceived: traffic.packetsByType.reduce((sum, count) => sum + count, 0),
    publishesReceived: traffic.packetsByType[PUBLISH]!,
    publishesRelayed: publishes.relayed,
    malformedPackets: violations.counts.malformed,
    // Connections beyond `connectionsMax` are refused by a listener, before admission.
    limitHits: new Map(hits.counts).set('connections', (hits.counts.get('connections') ?? 0) + refused),
    loginsFailed: loginDelays.counts.failed,
    loginsHeld: heldLogins.size,
    takeovers: loginDelays.counts.takeovers,
    publishesForbidden: violations.counts.publishesForbidden,
    subscriptions: subscriptionGuard.count,
    deliveriesDropped: deliverer.dropped,
    deliveriesUnwritable: deliverer.unwritable,
    retainedMessages: retained.count,
    retainedBytes: retained.bytes,
    retainedRefused: retained.refused,
    sessions: deliverer.sessions.subscribed,
    sharedSubscriptions: deliverer.shares,
    delayedWills: wills.size,
    topicAliases: mqtt5.topicAliases,
    queuedMessages: deliverer.memory.messages,
    queuedBytes: deliverer.memory.bytes
  }
}

/** Picks the statistics that gateways share. */
export const toShared = (
  { clientsConnected, packetsReceived, publishesReceived, bytesReceived, subscriptions }: SharedStatistics
): SharedStatistics => ({ clientsConnected, packetsReceived, publishesReceived, bytesReceived, subscriptions })

interface PublisherOptions {
  readonly fanOut: FanOut
  readonly read: () => BrokerStatistics
  /** Of each other live gateway. */
  readonly elsewhere: () => readonly SharedStatistics[]
  readonly version: string
  readonly intervalMs: number
}

/** Publishes statistics under the names and in the form that operators know from Mosquitto, retained. */
export function createStatisticsPublisher ({ fanOut, read, elsewhere, version, intervalMs }: PublisherOptions) {
  const startedAtMs = performance.now()
  let timer: NodeJS.Timeout | null = null

  function publish (): void {
    const statistics = read()
    const others = elsewhere()
    const sum = (name: keyof SharedStatistics) => others.reduce((total, other) => total + other[name], statistics[name])
    const messages = {
      version: `vital-gateway version ${version}`,
      uptime: `${Math.floor((performance.now() - startedAtMs) / 1000)} seconds`,
      'clients/connected': sum('clientsConnected'),
      'messages/received': sum('packetsReceived'),
      'publish/messages/received': sum('publishesReceived'),
      'bytes/received': sum('bytesReceived'),
      'subscriptions/count': sum('subscriptions'),
      'retained messages/count': statistics.retainedMessages
    }
    for (const [name, value] of Object.entries(messages)) {
      fanOut({ topic: `${STATISTICS_PREFIX}${name}`, payload: Buffer.from(String(value)), qos: 0, retain: true })
    }
  }

  return {
    start (): void {
      publish()
      timer = setInterval(publish, intervalMs)
    },
    stop (): void {
      if (timer !== null) clearInterval(timer)
      timer = null
    }
  }
}
