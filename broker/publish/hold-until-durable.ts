import type { PublishPacket } from 'aedes'
import type { Rejection } from '../../schemas/rejection.ts'
import { type Callback, type HeldPublish, type Outcome, RELEASED } from './acknowledgement-queue.ts'
import { closeSoon, type Connection } from '../connections.ts'
import type { Ingest } from '../ingest.ts'
import type { LimitHits } from '../limit-hits.ts'
import type { BrokerLimits } from '../limits.ts'
import { DISCARDED_TOPIC, deviceOf, isBridgeState, isIngested, levelsOf, rejectionTopicOf, RESERVED_PREFIX } from '../topics.ts'

/** What {@link createSubscriber} publishes by itself. */
export type FanOut = (packet: { topic: string, payload: Buffer, qos: 0 | 1 | 2, retain: boolean }) => void

const NOTHING = Buffer.alloc(0)

interface SubscriberOptions {
  readonly ingest: Ingest
  readonly fanOut: FanOut
  /** Notes a QoS 2 packet id in the session of a connection that has closed; false when it was noted before. */
  readonly noteInbound: (connection: Connection, messageId: number) => boolean
  /** It published on a topic that is not its own. */
  readonly onForbidden: (connection: Connection) => void
  /** A bridge told its state, as a will or a publish, which is acknowledged and reaches nobody. */
  readonly onBridgeState: (clientId: string) => void
  readonly hits: LimitHits
  readonly limits: Pick<BrokerLimits, 'heldMessagesPerClientMax' | 'heldBytesPerClientMax' | 'topicLengthMax' | 'topicLevelsMax'>
}

/**
 * The in-process subscriber of `vital/`: Aedes' `authorizePublish`, the only step before the acknowledgement is
 * written. It hands a publish to ingest and calls Aedes back once the verdict is there, in the client's order.
 *
 * Aedes is never called back with an error for what could not be stored: it would drop the connection through the
 * error path, and in the time between acknowledge nothing but lose the order. The connection is closed instead.
 */
export function createSubscriber ({ ingest, fanOut, noteInbound, onForbidden, onBridgeState, hits, limits }: SubscriberOptions) {
  const { heldMessagesPerClientMax, heldBytesPerClientMax, topicLengthMax, topicLevelsMax } = limits
  const state = { heldMessages: 0, relayedMessages: 0, stopped: false }

  function authorizePublish (connection: Connection, packet: PublishPacket, callback: Callback): void {
    const isWill = connection.client.closed
    const isDropped = isBridgeState(packet.topic)
    if (!isDropped && !mayPublish(connection, packet.topic)) return forbid(connection, packet, callback, isWill)
    if (connection.forbidden && !isWill) return
    // The broker closes, so ingest has been drained; clients did not fail, so their wills do not speak.
    if (isWill && state.stopped) return callback(new Error('the broker is stopping'), packet, connection)
    // Aedes' parser takes a packet that ends before its id, and finds one in what follows [MQTT-2.3.1-1].
    if (packet.qos > 0 && !isWill && !((packet.messageId as number) > 0)) return callback(new Error('no packet id'), packet, connection)
    // The flag of the incoming packet must not reach subscribers [MQTT-3.3.1-3].
    packet.dup = false
    if (isDropped) {
      onBridgeState(connection.client.id)
      discard(packet)
      return relay(connection, packet, callback, isWill)
    }
    if (!isIngested(packet.topic)) {
      const limit = packet.topic.length > topicLengthMax ? 'topic_length' : levelsOf(packet.topic) > topicLevelsMax ? 'topic_levels' : null
      if (limit !== null) {
        hits.hit(limit)
        return close(connection, packet, callback, isWill)
      }
      state.relayedMessages++
      return relay(connection, packet, callback, isWill)
    }
    const device = deviceOf(packet.topic)
    const payload = packet.payload as Buffer
    if (payload.length === 0 && packet.retain && device !== null) return relay(connection, packet, callback, isWill)
    ingest(hold(connection, packet, device, callback, isWill))
  }

  /**
   * The same for what the express lane takes: QoS 1, not retained, no will.
   * @param device - of `packet.topic`
   */
  function accept (connection: Connection, packet: PublishPacket, device: string, callback: Callback): void {
    if (connection.publishTopic !== null && packet.topic !== connection.publishTopic) return forbid(connection, packet, callback, false)
    if (connection.forbidden) return
    ingest(hold(connection, packet, device, callback, false))
  }

  function forbid (connection: Connection, packet: PublishPacket, callback: Callback, isWill: boolean): void {
    if (!isWill && !connection.forbidden) onForbidden(connection)
    close(connection, packet, callback, isWill)
  }

  /**
   * Nothing behind it is looked at, and the connection closes [MQTT-3.3.5-2] once all before it is acknowledged: a device
   * would send the good ones again with the bad one behind them, for ever.
   */
  function close (connection: Connection, packet: PublishPacket, callback: Callback, isWill: boolean): void {
    if (isWill) return callback(new Error('the will may not be published'), packet, connection)
    if (connection.forbidden) return
    connection.forbidden = true
    connection.condemned = true
    connection.gate.close()
    if (connection.held.size === 0) closeSoon(connection)
  }

  function relay (connection: Connection, packet: PublishPacket, callback: Callback, isWill: boolean): void {
    if (connection.held.size === 0) callback(null, packet, connection)
    else hold(connection, packet, null, callback, isWill).settle('relayed')
  }

  function hold (connection: Connection, packet: PublishPacket, device: string | null, callback: Callback, isWill: boolean): HeldPublish {
    const held = connection.held.hold(packet, device, callback, isWill)
    state.heldMessages++
    const { size, bytes } = connection.held
    if ((size > heldMessagesPerClientMax || bytes > heldBytesPerClientMax) && connection.gate.hold()) hits.hit('held')
    return held
  }

  /** Some of its publishes have left. */
  function relieve ({ held: queue, gate }: Connection): void {
    if (queue.size <= heldMessagesPerClientMax / 2 && queue.bytes <= heldBytesPerClientMax / 2) gate.release()
  }

  /** @see AcknowledgementQueue */
  function leave (connection: Connection, held: HeldPublish, outcome: Outcome): void {
    state.heldMessages--
    if (!state.stopped) {
      if (outcome === 'relayed') pass(connection, held)
      else if (outcome.status === 'unavailable') refuse(connection)
      else {
        const { topic } = held.packet
        if (outcome.fanOut === null) discard(held.packet)
        else if (outcome.fanOut !== held.packet.payload) held.packet.payload = outcome.fanOut
        pass(connection, held)
        // Aedes fans out a QoS 1 publish in the next turn; what was refused of it is told after what was good.
        if (outcome.rejections.length > 0) setImmediate(announce, topic, outcome.rejections)
      }
    }
    if (connection.condemned && connection.held.size === 0) closeSoon(connection)
  }

  /** Lets Aedes acknowledge and fan out. */
  function pass (connection: Connection, { packet, callback, isWill }: HeldPublish): void {
    const { client, socket, abandoned } = connection
    const gone = abandoned || client.closed || socket.destroyed
    if (!gone || isWill || packet.qos === 0) return callback(null, packet, connection)
    // Nobody is there to acknowledge to, and Aedes would not fan out what it cannot acknowledge. A client that comes
    // back to its session sends a QoS 2 message again: noted here, it is then acknowledged and not fanned out twice.
    if (packet.qos === 2 && !client.clean && !noteInbound(connection, packet.messageId as number)) return
    if (packet.topic === DISCARDED_TOPIC || packet.payload === RELEASED) return
    fanOut({ topic: packet.topic, payload: packet.payload as Buffer, qos: packet.qos, retain: packet.retain })
  }

  /** Aedes is not called back at all; what it holds for this publish goes with the connection. */
  function refuse (connection: Connection): void {
    if (connection.abandoned) return
    connection.abandoned = true
    connection.gate.close()
    closeSoon(connection)
  }

  function announce (topic: string, rejections: readonly Rejection[]): void {
    const rejectionTopic = rejectionTopicOf(topic)
    if (rejectionTopic === null) return
    for (const rejection of rejections) {
      fanOut({ topic: rejectionTopic, payload: Buffer.from(JSON.stringify(rejection)), qos: 1, retain: false })
    }
  }

  return {
    authorizePublish,
    accept,
    leave,
    relieve,
    /** From now on nothing is acknowledged or fanned out. */
    stop (): void {
      state.stopped = true
    },
    get heldMessages (): number {
      return state.heldMessages
    },
    /** What came on a topic outside `vital/`, since the start. */
    get relayedMessages (): number {
      return state.relayedMessages
    }
  }
}

export type Subscriber = ReturnType<typeof createSubscriber>

function mayPublish ({ publishTopic }: Connection, topic: string): boolean {
  return publishTopic === null ? !topic.startsWith(RESERVED_PREFIX) : topic === publishTopic
}

function discard (packet: PublishPacket): void {
  packet.topic = DISCARDED_TOPIC
  packet.payload = NOTHING
  packet.retain = false
}
