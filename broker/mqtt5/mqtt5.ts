import type { ConnectAuthentication } from '../connect/authentication.ts'
import type { Connection } from '../connection.ts'
import type { Cluster } from '../cluster.ts'
import type { Connections } from '../connections.ts'
import type { Deliverer } from '../deliver/deliverer.ts'
import type { FanOut } from '../deliver/fan-out.ts'
import type { SubscriptionGuard } from '../deliver/subscription-guard.ts'
import type { LimitHits } from '../limit-hits.ts'
import type { BrokerLimits } from '../limits.ts'
import type { Traffic } from '../publish/packet-scanner.ts'
import type { createPublishing } from '../publish/publishing.ts'
import type { RetainedMessages } from '../session/retained.ts'
import type { Violations } from '../violations.ts'
import type { PacketError } from '../wire/v5/packet-error.ts'
import type { Mqtt5Client } from './mqtt5-client.ts'
import { createPacketHandler } from './packet-handler.ts'
import { createPublishHandler } from './publish-handler.ts'
import { createServeMqtt5 } from './serve-mqtt5.ts'
import type { Wills } from './wills.ts'

interface Mqtt5Options {
  readonly connections: Connections
  readonly authentication: ConnectAuthentication
  readonly publishing: ReturnType<typeof createPublishing>
  readonly fanOut: FanOut
  readonly deliverer: Deliverer
  readonly cluster: Cluster | null
  readonly subscriptionGuard: SubscriptionGuard
  readonly retained: RetainedMessages
  readonly wills: Wills
  readonly traffic: Traffic
  readonly violations: Violations
  readonly hits: LimitHits
  readonly limits: BrokerLimits
}

/** Wires the parts of MQTT 5: reader, packet handler, and the way from CONNECT to CONNACK. */
export function createMqtt5 (options: Mqtt5Options) {
  const { deliverer, cluster, subscriptionGuard, publishing, traffic, violations, hits, limits } = options
  const { sessions, isWatched } = deliverer
  const { publish, passUnacknowledged } = createPublishHandler({
    ...options, ...publishing, isWatched, sessions, receiveMaximum: limits.heldMessagesPerClientMax
  })
  const { handle } = createPacketHandler({ publish, sessions, subscriptionGuard, cluster })

  /** Closes a connection for a packet, once the packets before it are acknowledged. */
  function onViolation (connection: Connection, error: PacketError): void {
    violations.packet5(connection, error);
    (connection.client as Mqtt5Client).noteCloseCode(error.reasonCode, error.rule)
    connection.closeOnceAcknowledged(error.rule === 'packet_size' ? 'limit' : 'malformed')
    // The publishes that came before it in the same chunk are about to be held.
    setImmediate(() => { connection.closeIfAcknowledged() })
  }

  return createServeMqtt5({
    ...options,
    ...publishing,
    passUnacknowledged,
    reader: {
      gates: publishing.gates,
      traffic,
      packetBytesMax: limits.packetBytesMax,
      rates: limits,
      handle,
      onViolation,
      onRateLimit: (of) => { hits.hit(`${of}_per_second`) }
    }
  })
}
