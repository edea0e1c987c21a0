/**
 * The express lane: QoS 1 publishes on `vital/{device}` do not pass through Aedes.
 *
 *   chunk ──> leading publishes ── accept (as the hook does) ── verdict ──> PUBACK, fan-out if anyone watches
 *     └────── from the first other packet on ──> Aedes
 *
 * Nearly every packet is such a publish, and Aedes' steps for it (its parser's buffer list, a series of callbacks, one
 * stream write for each PUBACK, a fan-out in which nobody takes part) cost two thirds of the gateway's time for a reading.
 * The lane reads only the front of what a socket gives, and stops before anything else it is not sure about: another
 * packet, a retained or QoS 0 or 2 publish, another topic, a length that does not fit. All that goes to Aedes as before, which
 * is always given whole packets, in order. A publish that has not fully come is carried until it has.
 */
import type { Client, PublishPacket } from 'aedes'
import { type Callback, RELEASED } from './acknowledgement-queue.ts'
import type { Connection, Connections } from '../connections.ts'
import { isPublishQos1, LENGTH_BYTES_MAX, type Traffic } from './packet-scanner.ts'
import { PubackWriter } from './puback-writer.ts'
import type { RateLimiter } from './rate-limiter.ts'
import type { FanOut, Subscriber } from './hold-until-durable.ts'
import { deviceOf } from '../topics.ts'
import { PUBLISH } from '../wire.ts'

/**
 * Largest publish that is carried over until it has fully come. Each chunk of it is appended by copying, so a device that sends
 * byte by byte makes the gateway copy this much each time; larger ones go to Aedes, which keeps a list.
 */
const CARRIED_BYTES_MAX = 16 * 1024

export interface ExpressOptions {
  readonly connections: Connections
  readonly subscriber: Pick<Subscriber, 'accept' | 'authorizePublish'>
  readonly fanOut: FanOut
  /** Whether a subscriber may want what is published on `vital/{device}`; true may be wrong, false must not be. */
  readonly isWatched: (topic: string) => boolean
  readonly traffic: Traffic
  readonly packetBytesMax: number
}

/** What the lane says of the front of a chunk. */
interface Taken {
  /** Bytes of whole publishes. */
  bytes: number
  /** Whether what follows is the beginning of another such publish: carry it. */
  isPartial: boolean
}

/** The answer of all lanes: it is read before any is asked again. */
const taken: Taken = { bytes: 0, isPartial: false }

/** Aedes' client has these; its types do not tell. */
interface TimedClient extends Client {
  readonly _keepaliveInterval: number
  readonly _keepaliveTimer: NodeJS.Timeout | null
}

/** Makes the lanes of a broker's connections. */
export function createExpress (options: ExpressOptions) {
  const { connections, subscriber, fanOut, isWatched } = options
  const pubacks = new PubackWriter()

  const acknowledge: Callback = (error, packet, connection) => {
    if (error) {
      connection.client.emit('error', error)
      return
    }
    pubacks.add(connection, packet.messageId as number)
    // In the next turn, as Aedes does, so that what comes through it keeps its place.
    if (packet.payload !== RELEASED && isWatched(packet.topic)) setImmediate(fanOut, toMessage(packet))
  }

  const lanes: LaneOptions = { ...options, acknowledge }

  /** The hook for what comes through Aedes: its acknowledgements leave behind those of the lane. */
  function authorizePublish (client: Client | null, packet: PublishPacket, callback: (error?: Error | null) => void): void {
    const connection = client === null ? undefined : connections.of(client)
    // Without a connection there is no order to keep and nobody to stop; Aedes has no such case without a cluster.
    if (connection === undefined) return callback(new Error('publish without a connection'))
    subscriber.authorizePublish(connection, packet, (error) => {
      pubacks.flush(connection)
      callback(error)
    })
  }

  return { createLane: (connection: Connection) => new ExpressLane(connection, lanes), authorizePublish }
}

function toMessage ({ topic, payload }: PublishPacket): Parameters<FanOut>[0] {
  return { topic, payload: payload as Buffer, qos: 1, retain: false }
}

/** Of all lanes. */
interface LaneOptions extends Pick<ExpressOptions, 'subscriber' | 'isWatched' | 'traffic' | 'packetBytesMax'> {
  readonly acknowledge: Callback
}

/** The express lane of one connection. Thousands lie idle, so it holds little of its own. */
export class ExpressLane {
  readonly #connection: Connection
  readonly #options: LaneOptions
  /** The topic of the last publish: most connections have one. As latin1, which is quick to compare, and as it is. */
  #topicBytes: string | null = null
  #topic = ''
  #device = ''

  constructor (connection: Connection, options: LaneOptions) {
    this.#connection = connection
    this.#options = options
  }

  /**
   * Takes the publishes at the front of `chunk`, which must begin with a packet.
   * @param gate - asked before each publish whether it stops
   * @param limiter - filled; what is taken is spent
   * @returns how much was taken; the same object each time
   */
  take (chunk: Buffer, gate: { readonly isStopping: boolean }, limiter: RateLimiter | null): Taken {
    taken.isPartial = false
    const { traffic, packetBytesMax } = this.#options
    const end = chunk.length
    let at = 0
    while (at < end && !gate.isStopping && limiter?.isEmpty !== true) {
      if (!isPublishQos1(chunk[at]!)) break
      let bodyAt = at + 1
      let length = 0
      let isWhole = false
      for (let shift = 0; shift < 7 * LENGTH_BYTES_MAX && bodyAt < end; shift += 7) {
        const byte = chunk[bodyAt++]!
        length |= (byte & 0x7f) << shift
        if (byte < 0x80) {
          isWhole = true
          break
        }
      }
      const packetEnd = bodyAt + length
      if (!isWhole || packetEnd > end) {
        taken.isPartial = isWhole ? packetEnd - at <= CARRIED_BYTES_MAX : bodyAt - at <= LENGTH_BYTES_MAX
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
    if (at > 0) this.#refreshKeepalive()
    return taken
  }

  /** Aedes does not see what is taken. */
  #refreshKeepalive (): void {
    const { _keepaliveInterval, _keepaliveTimer } = this.#connection.client as TimedClient
    if (_keepaliveInterval > 0) _keepaliveTimer?.refresh()
  }

  /** @returns false when it is not for this lane */
  #publish (chunk: Buffer, start: number, end: number): boolean {
    if (end - start < 2) return false
    const topicAt = start + 2
    const topicEnd = topicAt + (chunk[start]! << 8) + chunk[start + 1]!
    const payloadAt = topicEnd + 2
    if (payloadAt > end) return false
    const messageId = (chunk[topicEnd]! << 8) + chunk[topicEnd + 1]!
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
      // Whoever is told of it must not see the flag of this delivery [MQTT-3.3.1-3].
      cmd: 'publish', topic: this.#topic, payload: chunk.subarray(payloadAt, end), qos: 1, dup: false, retain: false, messageId
    }
    const { subscriber, acknowledge, isWatched } = this.#options
    subscriber.accept(this.#connection, packet, this.#device, acknowledge)
    if (!isWatched(packet.topic)) packet.payload = RELEASED
    return true
  }
}
