import type { Client, PublishPacket } from 'aedes'
import type { Remote } from '../cluster.ts'
import type { Connection } from '../connection.ts'
import type { Connections } from '../connections.ts'
import type { LimitHits } from '../limit-hits.ts'
import type { BrokerLimits } from '../limits.ts'
import { deviceOf, isBridgeState, isIngested, levelsOf } from '../topics.ts'
import type { Refusal } from './acknowledgement-queue.ts'
import { discard, type HoldUntilDurable, type PublishCallback } from './hold-until-durable.ts'
import type { PubackWriter } from './puback-writer.ts'

/** Takes a publish of the fast path: QoS 1, not retained, no will. @param device - of `packet.topic` */
export type AcceptPublish = (
  connection: Connection, packet: PublishPacket, device: string, callback: PublishCallback
) => void

interface AuthorizePublishOptions {
  readonly connections: Connections
  readonly hold: HoldUntilDurable
  readonly pubacks: PubackWriter
  /** A connection published on a topic that is not its own. */
  readonly onForbidden: (connection: Connection) => void
  /** A bridge published its state, or has it as a will; it is acknowledged and dropped. */
  readonly onBridgeState: (clientId: string) => void
  /** `null`: this gateway stands alone. */
  readonly remote: Pick<Remote, 'whenWillIsOurs'> | null
  readonly hits: LimitHits
  readonly limits: Pick<BrokerLimits, 'topicLengthMax' | 'topicLevelsMax'>
}

/**
 * Aedes' `authorizePublish`, its only step before it writes the acknowledgement, and the same for the fast path: a
 * publish is stored, relayed, dropped, or closes its connection.
 */
export function createAuthorizePublish (options: AuthorizePublishOptions) {
  const { connections, hold, pubacks, onForbidden, onBridgeState, remote, hits, limits } = options
  const state = { relayed: 0 }

  /**
   * Ignores the publish and all that follow, and closes the connection [MQTT-3.3.5-2] once those before it are
   * acknowledged: otherwise a device would send the good ones again with the bad one behind them, for ever.
   */
  function close (
    connection: Connection,
    packet: PublishPacket,
    callback: PublishCallback,
    isWill: boolean,
    reason: 'limit' | 'not_allowed'
  ): void {
    if (isWill) return callback(new Error('the will may not be published'), packet, connection, reason === 'limit' ? 'topic' : reason)
    if (!connection.ignoresPublishes) connection.ignorePublishes(reason)
  }

  function forbid (connection: Connection, packet: PublishPacket, callback: PublishCallback, isWill: boolean): void {
    if (!isWill && !connection.ignoresPublishes) onForbidden(connection)
    refuse(connection, packet, callback, isWill, 'not_allowed')
  }

  /** Refuses a publish: with a reason code in MQTT 5, and otherwise by closing the connection. */
  function refuse (
    connection: Connection, packet: PublishPacket, callback: PublishCallback, isWill: boolean, refusal: Refusal
  ): void {
    if (connection.client.protocolLevel === 5 && !isWill) hold.relay(connection, packet, callback, isWill, refusal)
    else close(connection, packet, callback, isWill, refusal === 'topic' ? 'limit' : 'not_allowed')
  }

  function relay (connection: Connection, packet: PublishPacket, callback: PublishCallback, isWill: boolean): void {
    const limit = packet.topic.length > limits.topicLengthMax
      ? 'topic_length'
      : levelsOf(packet.topic) > limits.topicLevelsMax ? 'topic_levels' : null
    if (limit !== null) {
      hits.hit(limit)
      return refuse(connection, packet, callback, isWill, 'topic')
    }
    state.relayed++
    hold.relay(connection, packet, callback, isWill)
  }

  function authorize (
    connection: Connection, packet: PublishPacket, callback: PublishCallback, isWill = connection.client.closed
  ): void {
    const known = isWill ? remote?.whenWillIsOurs(connection.client.id) ?? null : null
    if (known === null) return decide(connection, packet, callback, isWill)
    known.then((isOurs) => {
      if (isOurs) decide(connection, packet, callback, isWill)
      else callback(new Error('another gateway has published the will'), packet, connection, 'relayed')
    }, () => {})
  }

  function decide (connection: Connection, packet: PublishPacket, callback: PublishCallback, isWill: boolean): void {
    const isDropped = isBridgeState(packet.topic)
    if (!isDropped && !connection.access.mayPublish(packet.topic)) return forbid(connection, packet, callback, isWill)
    if (connection.ignoresPublishes && !isWill) return
    // The broker stops, so ingest has been drained. The clients did not fail, so their wills are not published.
    if (isWill && hold.isStopped) return callback(new Error('the broker is stopping'), packet, connection, 'relayed')
    // Aedes' parser takes a packet that ends before its id, and finds one in the next packet [MQTT-2.3.1-1].
    if (packet.qos > 0 && !isWill && !((packet.messageId as number) > 0)) {
      return callback(new Error('no packet id'), packet, connection, 'relayed')
    }
    // The flag of the incoming packet must not reach subscribers [MQTT-3.3.1-3].
    packet.dup = false
    if (isDropped) {
      onBridgeState(connection.client.id)
      discard(packet)
      return hold.relay(connection, packet, callback, isWill)
    }
    if (!isIngested(packet.topic)) return relay(connection, packet, callback, isWill)
    const device = deviceOf(packet.topic)
    // A publish that clears a retained message.
    if (packet.payload.length === 0 && packet.retain && device !== null) {
      return hold.relay(connection, packet, callback, isWill)
    }
    hold.store(connection, packet, device, callback, isWill)
  }

  const accept: AcceptPublish = (connection, packet, device, callback) => {
    if (!connection.access.mayPublishVital(packet.topic)) return forbid(connection, packet, callback, false)
    if (connection.ignoresPublishes) return
    hold.store(connection, packet, device, callback, false)
  }

  return {
    accept,
    /**
     * Takes any other publish, or a will.
     * @param callback - acknowledges it and fans it out
     */
    submit: authorize,
    refuse,

    /** The hook of Aedes. */
    authorizePublish (client: Client | null, packet: PublishPacket, callback: (error?: Error | null) => void): void {
      const connection = client === null ? undefined : connections.of(client)
      // Only a cluster of brokers publishes without a client.
      if (connection === undefined) return callback(new Error('publish without a connection'))
      authorize(connection, packet, (error) => {
        // The acknowledgement that Aedes writes now leaves behind those of the fast path.
        pubacks.flush(connection)
        callback(error)
      })
    },

    /** Publishes outside `vital/`, since the start. */
    get relayed (): number {
      return state.relayed
    }
  }
}
