import type { PublishPacket } from 'aedes'
import type { Rejection } from '../../schemas/rejection.ts'
import type { Remote } from '../cluster.ts'
import type { Connection } from '../connection.ts'
import type { FanOut, PublishedMessage } from '../deliver/fan-out.ts'
import type { Ingest, UnavailableReason } from '../ingest.ts'
import type { LimitHits } from '../limit-hits.ts'
import type { BrokerLimits } from '../limits.ts'
import { DISCARDED_TOPIC, rejectedDeviceOf } from '../topics.ts'
import { toRejectedMessage } from './announcements.ts'
import { toExtension } from './published-packet.ts'
import { type Callback, type HeldPublish, type Outcome, type Refusal, RELEASED_PAYLOAD } from './acknowledgement-queue.ts'

export type PublishCallback = Callback<Connection>

interface HoldOptions {
  readonly ingest: Ingest
  readonly fanOut: FanOut
  /** Notes a QoS 2 packet id in the session of a connection that has closed; false when it was noted before. */
  readonly noteInbound: (connection: Connection, messageId: number) => boolean
  /** A refusal is announced to subscribers. */
  readonly onRejected: (device: string, rejection: Rejection) => void
  /** A connection closes because a publish of it could not be made durable. */
  readonly onUnavailable: (connection: Connection, reason: UnavailableReason) => void
  /** `null`: this gateway stands alone. */
  readonly remote: Pick<Remote, 'whenCopied' | 'whenArrived'> | null
  /** Whether a retained message outside `vital/` has room. */
  readonly admitsRetained: (packet: PublishPacket) => boolean
  readonly hits: LimitHits
  readonly limits: Pick<BrokerLimits, 'heldMessagesPerClientMax' | 'heldBytesPerClientMax'>
}

/**
 * Hands publishes to ingest, and acknowledges each once its verdict is there, in the client's order.
 *
 * A publish that could not be stored closes its connection, and Aedes is not called back. Called back with an error,
 * Aedes would close the connection by its error path, and acknowledge publishes out of order before that.
 */
export function createHoldUntilDurable (options: HoldOptions) {
  const { ingest, fanOut, noteInbound, onRejected, onUnavailable, remote, admitsRetained, hits, limits } = options
  const { heldMessagesPerClientMax, heldBytesPerClientMax } = limits
  const state = { isStopped: false }

  function hold (
    connection: Connection, packet: PublishPacket, device: string | null, callback: PublishCallback, isWill: boolean
  ): HeldPublish<Connection> {
    const { held: queue, gate } = connection
    const held = queue.add(packet, device, callback, isWill)
    if ((queue.size > heldMessagesPerClientMax || queue.bytes > heldBytesPerClientMax) && gate.hold()) hits.hit('held')
    return held
  }

  /**
   * Fans out a publish of QoS 1 before it is acknowledged, because its acknowledgement waits for Redis. A publish of
   * QoS 2 is fanned out before its PUBREC in any case, and its PUBREC waits for Redis. Here it waits for the sessions
   * that are on their way to this gateway.
   */
  function prepare (connection: Connection, held: HeldPublish<Connection>, outcome: Outcome): Promise<void> | null {
    const { packet } = held
    if (connection.isSurrendered) return null
    if (remote === null || state.isStopped || held.isWill || packet.qos === 0 || !isAccepted(outcome)) return null
    if (packet.qos === 2) return remote.whenArrived()
    if (outcome === 'relayed' && packet.retain && !admitsRetained(packet)) return null
    const { topic } = packet
    setFanOut(packet, outcome)
    held.isFannedOut = true
    if (topic === DISCARDED_TOPIC || packet.payload === RELEASED_PAYLOAD) return null
    fanOut(toMessage(packet))
    discard(packet)
    if (outcome !== 'relayed') announce(topic, outcome.rejections)
    return remote.whenCopied()
  }

  /** Lets Aedes, the fast path or the MQTT 5 client acknowledge and fan out. */
  function pass (connection: Connection, { packet, callback, isWill }: HeldPublish<Connection>, outcome: Outcome): void {
    if (!connection.isGone || isWill || packet.qos === 0) return callback(null, packet, connection, outcome)
    if ((typeof outcome === 'string' && outcome !== 'relayed') || connection.isSurrendered) return
    // The client has gone, and Aedes would not fan out a publish that it cannot acknowledge. A client that comes back
    // to its session sends a QoS 2 message again: noted here, it is then acknowledged and not fanned out twice. Another
    // gateway may have its session by then, and fan out what is sent there.
    if (packet.qos === 2 && !connection.client.clean) {
      if (remote !== null || !noteInbound(connection, packet.messageId as number)) return
    }
    if (packet.topic === DISCARDED_TOPIC || packet.payload === RELEASED_PAYLOAD) return
    fanOut(toMessage(packet))
  }

  function announce (topic: string, rejections: readonly Rejection[]): void {
    const device = rejectedDeviceOf(topic)
    if (device === null) return
    for (const rejection of rejections) {
      fanOut(toRejectedMessage(device, rejection))
      onRejected(device, rejection)
    }
  }

  function finish (connection: Connection, held: HeldPublish<Connection>, outcome: Outcome): void {
    if (typeof outcome === 'string') return pass(connection, held, outcome)
    if (outcome.status === 'unavailable') {
      if (connection.closeUnacknowledged(outcome.reason)) onUnavailable(connection, outcome.reason)
      return
    }
    if (held.isFannedOut) return pass(connection, held, outcome)
    const { topic } = held.packet
    setFanOut(held.packet, outcome)
    pass(connection, held, outcome)
    // Aedes fans out a QoS 1 publish in the next turn; rejections of it follow the readings that were stored.
    if (outcome.rejections.length > 0) setImmediate(announce, topic, outcome.rejections)
  }

  return {
    /**
     * Holds a publish until ingest has a verdict.
     * @param device - of the topic; `null`: the publish can only become a dead letter
     */
    store (
      connection: Connection, packet: PublishPacket, device: string | null, callback: PublishCallback, isWill: boolean
    ): void {
      ingest(hold(connection, packet, device, callback, isWill))
    },

    /** Passes a publish that is not stored, or refuses it, once all before it are acknowledged. */
    relay (
      connection: Connection, packet: PublishPacket, callback: PublishCallback, isWill: boolean, outcome: 'relayed' | Refusal = 'relayed'
    ): void {
      const isPrepared = remote !== null && packet.qos > 0
      if (connection.held.size === 0 && !isPrepared) callback(null, packet, connection, outcome)
      else hold(connection, packet, null, callback, isWill).settle(outcome)
    },

    /** @see AcknowledgementQueue */
    prepare: remote === null ? null : prepare,
    dequeued (connection: Connection, held: HeldPublish<Connection>, outcome: Outcome): void {
      if (!state.isStopped) finish(connection, held, outcome)
      connection.closeIfAcknowledged()
    },
    drained ({ held: queue, gate }: Connection): void {
      if (queue.size <= heldMessagesPerClientMax / 2 && queue.bytes <= heldBytesPerClientMax / 2) gate.release()
    },

    /** From now on nothing is acknowledged or fanned out. */
    stop (): void {
      state.isStopped = true
    },
    get isStopped (): boolean {
      return state.isStopped
    }
  }
}

export type HoldUntilDurable = ReturnType<typeof createHoldUntilDurable>

/** @returns what subscribers are sent of a publish */
export function toMessage (packet: PublishPacket): PublishedMessage {
  const { topic, payload, qos, retain } = packet
  const { clientId, properties } = toExtension(packet)
  const message = { topic, payload: payload as Buffer, qos, retain }
  return clientId === undefined ? message : { ...message, clientId, properties: properties ?? null }
}

type Accepted = 'relayed' | Extract<Outcome, { readonly status: 'durable' }>

function isAccepted (outcome: Outcome): outcome is Accepted {
  return typeof outcome === 'string' ? outcome === 'relayed' : outcome.status === 'durable'
}

/** Reduces a publish to what its subscribers may see. */
function setFanOut (packet: PublishPacket, outcome: Accepted): void {
  if (outcome === 'relayed') return
  if (outcome.fanOut === null) discard(packet)
  else if (outcome.fanOut !== packet.payload) packet.payload = outcome.fanOut
}

/** Changes a publish so that it is acknowledged and reaches no subscriber. */
export function discard (packet: PublishPacket): void {
  packet.topic = DISCARDED_TOPIC
  packet.payload = NOTHING
  packet.retain = false
}

const NOTHING = Buffer.alloc(0)
