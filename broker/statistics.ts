import type { LimitName } from './limit-hits.ts'
import type { FanOut } from './publish/hold-until-durable.ts'
import { STATISTICS_PREFIX } from './topics.ts'

/** What the broker counts; totals since its start, unless said otherwise. */
export interface BrokerStatistics {
  /** Clients with a CONNACK, now. */
  readonly clientsConnected: number
  /** Open sockets, now. */
  readonly connections: number
  readonly connectionsRefused: number
  /** TLS handshakes that were not begun, because too many were under way. */
  readonly handshakesRefused: number
  /** TLS handshakes that came to nothing. */
  readonly handshakesFailed: number
  /** Connections of trusted proxies without a valid PROXY header. */
  readonly proxyHeadersRefused: number
  readonly bytesReceived: number
  readonly packetsReceived: number
  readonly publishesReceived: number
  /** Publishes and wills outside `vital/`, which are stored nowhere. */
  readonly publishesRelayed: number
  /** Publishes that wait for their acknowledgement, now. */
  readonly heldMessages: number
  /** Clients whose sockets are not read because their next packet is a PUBLISH, now. */
  readonly publishersStopped: number
  /** Connections closed for breaking a limit of the read gate. */
  readonly limitViolations: number
  /** Connections closed for a packet that MQTT does not allow. */
  readonly malformedPackets: number
  /** How often each limit was met. */
  readonly limitHits: ReadonlyMap<LimitName, number>
  readonly loginsFailed: number
  /** Connections that wait because their credentials cannot be verified, now. */
  readonly loginsHeld: number
  /** Connections closed because their client id connected again. */
  readonly takeovers: number
  /** Connections closed for publishing on a topic that is not theirs. */
  readonly publishesForbidden: number
  /** Live subscriptions, now. */
  readonly subscriptions: number
  readonly subscriptionsRefused: number
  readonly deliveriesDropped: number
  /** Deliveries dropped because their message cannot be encoded. */
  readonly deliveriesUnwritable: number
  readonly retainedMessages: number
  readonly retainedBytes: number
  readonly retainedRefused: number
  /** Sessions that hold subscriptions, now. */
  readonly sessions: number
  readonly queuedMessages: number
  readonly queuedBytes: number
  readonly queuedDropped: number
}

interface PublisherOptions {
  readonly fanOut: FanOut
  readonly read: () => BrokerStatistics
  readonly version: string
  readonly intervalMs: number
}

/** Publishes statistics under the names and in the form that operators know from Mosquitto, retained. */
export function createStatisticsPublisher ({ fanOut, read, version, intervalMs }: PublisherOptions) {
  const startedAtMs = performance.now()
  let timer: NodeJS.Timeout | null = null

  function publish (): void {
    const statistics = read()
    const messages = {
      version: `vital-gateway version ${version}`,
      uptime: `${Math.floor((performance.now() - startedAtMs) / 1000)} seconds`,
      'clients/connected': statistics.clientsConnected,
      'messages/received': statistics.packetsReceived,
      'publish/messages/received': statistics.publishesReceived,
      'bytes/received': statistics.bytesReceived,
      'subscriptions/count': statistics.subscriptions,
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
