/**
 * The fast path: QoS 1 publishes on `vital/{device}` do not pass through Aedes.
 *
 *   chunk ──> leading publishes ── accept (authorize-publish.ts) ── verdict ──> PUBACK, fan-out
 *     └────── from the first other packet on ──> Aedes
 *
 * Nearly every packet is such a publish, and Aedes' steps for it (its parser's buffer list, a series of callbacks, one
 * stream write for each PUBACK, a fan-out to no subscriber) cost two thirds of the gateway's time for a reading. The
 * fast path reads the front of a chunk only, and stops at the first packet that it does not handle: another type, a
 * retained or QoS 0 or 2 publish, another topic, a length that does not fit. Everything from there on goes to Aedes,
 * which is always given whole packets, in order. A publish that has not fully come is kept until it has.
 */
import type { PublishPacket } from 'aedes'
import type { Connection } from '../connection.ts'
import type { FanOut } from '../deliver/fan-out.ts'
import { deviceOf } from '../topics.ts'
import { toUint16 } from '../wire/fields.ts'
import {
  decodeLength, isPublishQos1, LENGTH_INCOMPLETE, lengthBytes, lengthValue, PUBLISH
} from '../wire/fixed-header.ts'
import { type Callback, RELEASED_PAYLOAD } from './acknowledgement-queue.ts'
import type { AcceptPublish } from './authorize-publish.ts'
import type { Traffic } from './packet-scanner.ts'
import type { PubackWriter } from './puback-writer.ts'
import type { RateLimiter } from './rate-limiter.ts'
import type { FastPath, Taken } from './read-gate.ts'

/**
 * Largest publish that is kept until it has fully come. Each chunk of it is appended by copying, so a device that sends
 * byte by byte makes the gateway copy this much each time; larger ones go to Aedes, which keeps a list.
 */
const PARTIAL_BYTES_MAX = 16 * 1024

interface FastPathOptions {
  readonly accept: AcceptPublish
  readonly pubacks: PubackWriter
  readonly fanOut: FanOut
  /** Whether a subscription may match `vital/{device}`; true may be wrong, false must not be. */
  readonly isWatched: (topic: string) => boolean
  readonly traffic: Traffic
  readonly packetBytesMax: number
}

/** The result of all connections: it is read before `take` is called again. */
const taken: Taken = { bytes: 0, isPartial: false }

/** @returns a function that makes the fast path of a connection */
export function createFastPath ({ accept, pubacks, fanOut, isWatched, traffic, packetBytesMax }: FastPathOptions) {
  const acknowledge: Callback<Connection> = (error, packet, connection) => {
    if (error) {
      connection.destroy('protocol_error')
      return
    }
    pubacks.add(connection, packet.messageId as number)
    // In the next turn, as Aedes does, so that messages of both keep their order.
    if (packet.payload !== RELEASED_PAYLOAD && isWatched(packet.topic)) setImmediate(fanOut, toMessage(packet))
  }
  const shared: SharedOptions = { accept, isWatched, traffic, packetBytesMax, acknowledge }
  return (connection: Connection): FastPath => new ConnectionFastPath(connection, shared)
}

function toMessage ({ topic, payload }: PublishPacket): Parameters<FanOut>[0] {
  return { topic, payload: payload as Buffer, qos: 1, retain: false }
}

/** Of all connections. */
interface SharedOptions extends Pick<FastPathOptions, 'accept' | 'isWatched' | 'traffic' | 'packetBytesMax'> {
  readonly acknowledge: Callback<Connection>
}

/** The fast path of one connection. Thousands are idle, so it holds little of its own. */
class ConnectionFastPath implements FastPath {
  readonly #connection: Connection
  readonly #options: SharedOptions
  /** The topic of the last publish; nearly all have the same. As latin1, which is quick to compare, and decoded. */
  #topicBytes: string | null = null
  #topic = ''
  #device = ''

  constructor (connection: Connection, options: SharedOptions) {
    this.#connection = connection
    this.#options = options
  }

  /** @returns the same object each time */
  take (chunk: Buffer, gate: { readonly isStopping: boolean }, limiter: RateLimiter | null): Taken {
    taken.isPartial = false
    const { traffic, packetBytesMax } = this.#options
    const end = chunk.length
    let at = 0
    while (at < end && !gate.isStopping && limiter?.isEmpty !== true) {
      if (!isPublishQos1(chunk[at]!)) break
      const length = decodeLength(chunk, at + 1, end)
      if (length < 0) {
        taken.isPartial = length === LENGTH_INCOMPLETE
        break
      }
      const bodyAt = at + 1 + lengthBytes(length)
      const packetEnd = bodyAt + lengthValue(length)
      if (packetEnd > end) {
        taken.isPartial = packetEnd - at <= PARTIAL_BYTES_MAX
        break
      }
      if (packetEnd - at > packetBytesMax) break
      if (!this.#publish(chunk, bodyAt, packetEnd)) break
      limiter?.spend(1, packetEnd - at)
      at = packetEnd
      traffic.packetsByType[PUBLISH]!++
    }
    traffic.bytesReceived += at
    taken.bytes = at
    if (at > 0) this.#connection.client.refreshKeepalive()
    return taken
  }

  /** @returns false when it is for Aedes */
  #publish (chunk: Buffer, start: number, end: number): boolean {
    if (end - start < 2) return false
    const topicAt = start + 2
    const topicEnd = topicAt + toUint16(chunk, start)
    const payloadAt = topicEnd + 2
    if (payloadAt > end) return false
    const messageId = toUint16(chunk, topicEnd)
    if (messageId === 0) return false
    const bytes = chunk.toString('latin1', topicAt, topicEnd)
    if (bytes !== this.#topicBytes) {
      const topic = chunk.toString('utf8', topicAt, topicEnd)
      const device = deviceOf(topic)
      if (device === null) return false
      this.#topicBytes = bytes
      this.#topic = topic
      this.#device = device
    }
    const packet: PublishPacket = {
      cmd: 'publish',
      topic: this.#topic,
      payload: chunk.subarray(payloadAt, end),
      qos: 1,
      // Subscribers must not see the DUP flag of this delivery [MQTT-3.3.1-3].
      dup: false,
      retain: false,
      messageId
    }
    const { accept, acknowledge, isWatched } = this.#options
    accept(this.#connection, packet, this.#device, acknowledge)
    if (!isWatched(packet.topic)) packet.payload = RELEASED_PAYLOAD
    return true
  }
}
