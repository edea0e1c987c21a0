import type { Rejection } from '../../schemas/rejection.ts'
import { claimOf } from '../connect/authorisation.ts'
import type { Remote } from '../cluster.ts'
import type { Connection } from '../connection.ts'
import type { Connections } from '../connections.ts'
import type { FanOut } from '../deliver/fan-out.ts'
import type { Ingest } from '../ingest.ts'
import type { LimitHits } from '../limit-hits.ts'
import type { BrokerLimits } from '../limits.ts'
import type { RetainedMessages } from '../session/retained.ts'
import type { Sessions } from '../session/sessions.ts'
import { isIngested } from '../topics.ts'
import { isLimit, type Violations } from '../violations.ts'
import { encodeConnack, RETURN_CODES } from '../wire/encode.ts'
import { createAuthorizePublish } from './authorize-publish.ts'
import { createFastPath } from './fast-path.ts'
import { createHoldUntilDurable } from './hold-until-durable.ts'
import type { PacketViolation, Traffic } from './packet-scanner.ts'
import { PubackWriter } from './puback-writer.ts'
import { ReadGates } from './read-gate.ts'

interface PublishingOptions {
  readonly connections: Connections
  readonly sessions: Sessions
  readonly ingest: Ingest
  readonly fanOut: FanOut
  readonly onRejected: (device: string, rejection: Rejection) => void
  readonly isWatched: (topic: string) => boolean
  /** `null`: this gateway stands alone. */
  readonly cluster: Remote | null
  readonly retained: RetainedMessages
  readonly traffic: Traffic
  readonly violations: Violations
  readonly hits: LimitHits
  readonly limits: BrokerLimits
}

/** Wires a publish's way from the socket to its acknowledgement: read gates, fast path, authorisation, hold. */
export function createPublishing (options: PublishingOptions) {
  const { connections, sessions, ingest, fanOut, onRejected, isWatched, cluster, retained, traffic, violations, hits, limits } = options
  const { packetBytesMax, connectPacketBytesMax } = limits
  const pubacks = new PubackWriter()
  const gates = new ReadGates<Connection>({
    traffic,
    connectPacketBytesMax,
    packetBytesMax,
    rates: limits,
    onViolation: (connection, violation) => {
      violations.packet(connection, violation)
      closeForViolation(connection, violation)
    },
    onRateLimit: (of) => { hits.hit(`${of}_per_second`) }
  })
  const hold = createHoldUntilDurable({
    ingest,
    fanOut,
    noteInbound: (connection, messageId) => noteInbound(connection, messageId, connections, sessions),
    onRejected,
    onUnavailable: violations.unavailable,
    remote: cluster,
    admitsRetained: (packet) => isIngested(packet.topic) || retained.admits(packet),
    hits,
    limits
  })
  const publishes = createAuthorizePublish({
    connections,
    hold,
    pubacks,
    onForbidden: violations.forbiddenPublish,
    onBridgeState: violations.bridgeState,
    remote: cluster,
    hits,
    limits
  })
  const toFastPath = createFastPath({ accept: publishes.accept, pubacks, fanOut, isWatched, traffic, packetBytesMax })
  return { gates, hold, publishes, pubacks, toFastPath }
}

/** Closes a connection for a packet, once the packets before it are acknowledged. */
function closeForViolation (connection: Connection, violation: PacketViolation): void {
  connection.closeOnceAcknowledged(isLimit(violation) ? 'limit' : 'malformed')
  if (violation === 'protocol_level') connection.socket.write(encodeConnack(RETURN_CODES.unacceptableProtocolLevel))
  // The publishes that came before it in the same chunk are about to be held.
  setImmediate(() => { connection.closeIfAcknowledged() })
}

/**
 * Notes the packet id of a QoS 2 publish in the session of a connection that has closed.
 * @returns false when it was noted before
 */
function noteInbound (
  { client, access: { principal = null } }: Connection, messageId: number, connections: Connections, sessions: Sessions
): boolean {
  const holder = connections.holderOf(client.id)
  const owner = holder === undefined ? sessions.ownerOf(client.id) : holder.access.principal
  // A clean session or another principal has the client id now, with packet ids of its own.
  if (holder?.client.clean === true || (owner !== undefined && claimOf(principal, owner) !== 'resume')) return true
  return sessions.addInboundOfAbsent(client.id, principal, messageId, performance.now())
}
