/**
 * One connection to the broker, from its first byte to its end:
 *
 *   socket ── CONNECT, CONNACK ── UNSUBSCRIBE an earlier filter ── SUBSCRIBE, SUBACK ── messages, PINGREQ ── end
 *
 * A resumed session may deliver messages before SUBACK. Reading stops while ingest asks for it or too many bytes are
 * held. TCP then pushes back, and the messages that the broker has sent stay unacknowledged. PINGREQs continue, so that
 * the broker keeps the connection.
 *
 * Reading also stops while a broker has sent more messages than Receive Maximum allows, which [MQTT-3.3.4-9] forbids.
 * Mosquitto 2.0.11 does so when it resumes a session. If the bridge closed the connection, the broker would send the
 * same messages again for ever.
 */
import type { Duplex } from 'node:stream'
import mqttPacket, { type IDisconnectPacket, type Packet } from 'mqtt-packet'
import { encodePubacks } from '../../broker/wire/encode.ts'
import { PUBLISH, typeOf } from '../../broker/wire/fixed-header.ts'
import { decodePublish, PayloadFormatError, type Publish5, toTopicName } from '../../broker/wire/v5/decode.ts'
import { PacketError } from '../../broker/wire/v5/packet-error.ts'
import { REASONS5 } from '../../broker/wire/v5/reason-codes.ts'
import { toConnect } from './connect-packet.ts'
import { decodeControl, MQTT5 } from './control-packet.ts'
import type { BridgeLimits } from './limits.ts'
import { PacketFrames } from './packet-frames.ts'
import { checkSuback, type Terms, toEnd, toTerms } from './terms.ts'
import { UpstreamError } from './upstream-error.ts'
import { Window, type WindowOptions } from './window.ts'

const SUBSCRIBE_ID = 1
const UNSUBSCRIBE_ID = 2
const PINGREQ = Buffer.from([0xc0, 0])

/** Properties of a PUBLISH besides its message. */
export interface Notes {
  readonly isDuplicate: boolean
  readonly isExpiring: boolean
  readonly isCut: boolean
}

interface ConnectionOptions {
  /** A connected socket. */
  readonly socket: Duplex
  readonly login: { readonly username: string, readonly password: Buffer | null } | null
  readonly hasSession: boolean
  /** Filter of the shared subscription, with its group. */
  readonly filter: string
  /** A filter of an earlier start that the session still has; `null`: none. */
  readonly oldFilter: string | null
  readonly deviceOf: (topic: string) => string | null
  /** The messages of this connection. */
  readonly window: Window
  readonly limits: BridgeLimits
  readonly packetBytesMax: number
  /** Whether ingest takes nothing more now. */
  readonly isPaused: () => boolean
  readonly onTerms: (terms: Terms) => void
  readonly onSubscribed: () => void
  readonly onMessage: (qos: number, notes: Notes) => void
  /** Called once. @param error - `null`: the bridge closed the connection */
  readonly onEnd: (error: UpstreamError | null) => void
}

/** See the top of this file. */
export class UpstreamConnection {
  readonly #options: ConnectionOptions
  readonly #frames: PacketFrames
  #phase: 'connecting' | 'subscribing' | 'subscribed' | 'ended' = 'connecting'
  #isReading = true
  #keepAliveMs: number
  #receivedAtMs = performance.now()
  #sentAtMs = performance.now()
  #timer: NodeJS.Timeout

  constructor (options: ConnectionOptions) {
    const { socket, limits, packetBytesMax } = options
    this.#options = options
    this.#keepAliveMs = limits.keepAliveS * 1000
    this.#frames = new PacketFrames({
      bodyBytesMax: packetBytesMax,
      onPacket: (firstByte, bytes, start, end, isCut) => { this.#onPacket(firstByte, bytes, start, end, isCut) }
    })
    this.#timer = setTimeout(() => { this.#end(new UpstreamError('the broker does not answer CONNECT')) }, limits.connectTimeoutMs)
    socket.on('data', (chunk: Buffer) => { this.#take(chunk) })
    socket.on('error', (cause) => { this.#end(new UpstreamError(`the connection failed: ${cause.message}`, { cause })) })
    socket.on('close', () => { this.#end(new UpstreamError('the broker closed the connection')) })
    const { username = null, password = null } = options.login ?? {}
    this.#send(toConnect({ ...limits, clientId: options.window.clientId, username, password }))
  }

  get isSubscribed (): boolean {
    return this.#phase === 'subscribed'
  }

  get isReading (): boolean {
    return this.#isReading
  }

  /** Stops or resumes reading, according to ingest and the window. */
  update (): void {
    const { isPaused, window, limits, socket } = this.#options
    const isFull = window.size > limits.receiveMaximum || window.bytes > limits.heldBytesMax
    const isReading = this.#phase === 'connecting' || !(isPaused() || isFull)
    if (this.#phase === 'ended' || isReading === this.#isReading) return
    this.#isReading = isReading
    if (isReading) {
      // Nothing was read meanwhile, so the broker's silence is measured from now on.
      this.#receivedAtMs = performance.now()
      socket.resume()
    } else {
      socket.pause()
    }
  }

  acknowledge (packetIds: readonly number[]): void {
    if (this.#phase === 'ended' || !this.#options.socket.writable) return
    this.#options.socket.write(encodePubacks(packetIds))
    this.#sentAtMs = performance.now()
  }

  /** Disconnects; the broker keeps the session. */
  close (): void {
    if (this.#phase === 'ended') return
    this.#options.window.close()
    this.#send({ cmd: 'disconnect', reasonCode: REASONS5.success })
    this.#end(null)
  }

  #send (packet: Packet): void {
    this.#sentAtMs = performance.now()
    if (this.#options.socket.writable) this.#options.socket.write(mqttPacket.generate(packet, MQTT5))
  }

  #take (chunk: Buffer): void {
    if (this.#phase === 'ended') return
    this.#receivedAtMs = performance.now()
    try {
      this.#frames.take(chunk)
      this.update()
    } catch (error) {
      if (error instanceof UpstreamError) {
        this.#end(error)
      } else if (error instanceof PacketError) {
        this.#send({ cmd: 'disconnect', reasonCode: error.reasonCode })
        this.#end(new UpstreamError(`the broker breaks a rule of MQTT 5: ${error.message}`, { cause: error }))
      } else {
        throw error
      }
    }
  }

  #onPacket (firstByte: number, bytes: Buffer, start: number, end: number, isCut: boolean): void {
    if (this.#phase === 'ended') return
    if (typeOf(firstByte) === PUBLISH) {
      this.#onPublish(firstByte, bytes, start, end, isCut)
    } else {
      this.#onControl(decodeControl(firstByte, bytes.subarray(start, end)))
    }
  }

  #onPublish (firstByte: number, bytes: Buffer, start: number, end: number, isCut: boolean): void {
    const { window, deviceOf, onMessage } = this.#options
    const { qos, packetId, topicStart, topicEnd, payloadStart, isDuplicate, messageExpiryS } = decode(firstByte, bytes, start, end)
    // The bridge subscribes at QoS 1, after CONNACK.
    if (this.#phase === 'connecting' || qos === 2) throw new UpstreamError('the broker sent a message that was not subscribed to')
    onMessage(qos, { isDuplicate, isExpiring: messageExpiryS !== null, isCut })
    if (qos === 1 && window.isHeld(packetId)) return
    const topic = toTopicName(bytes, topicStart, topicEnd)
    window.take({ packetId, topic, device: deviceOf(topic), payload: bytes.subarray(payloadStart, end) })
  }

  #onControl (packet: Packet): void {
    const { filter, oldFilter, onTerms, onSubscribed, hasSession, limits } = this.#options
    switch (packet.cmd) {
      case 'connack': {
        if (this.#phase !== 'connecting') throw new PacketError('packet_direction')
        const terms = toTerms(packet, { hasSession, sessionExpiryS: limits.sessionExpiryS, keepAliveS: limits.keepAliveS })
        this.#phase = 'subscribing'
        this.#keepAlive(terms.keepAliveS * 1000)
        onTerms(terms)
        if (oldFilter !== null) this.#send({ cmd: 'unsubscribe', messageId: UNSUBSCRIBE_ID, unsubscriptions: [oldFilter] })
        this.#send({ cmd: 'subscribe', messageId: SUBSCRIBE_ID, subscriptions: [{ topic: filter, qos: 1, nl: false, rap: true, rh: 2 }] })
        break
      }
      case 'suback':
        checkSuback(packet, filter)
        this.#phase = 'subscribed'
        onSubscribed()
        break
      case 'disconnect':
        throw toEnd(packet as IDisconnectPacket)
      case 'unsuback':
      case 'pingresp':
        break
      default:
        throw new PacketError('packet_direction')
    }
  }

  /** Sends pings, and detects a broker that is gone. @param keepAliveMs - 0: the broker asks for no keep alive */
  #keepAlive (keepAliveMs: number): void {
    clearTimeout(this.#timer)
    this.#keepAliveMs = keepAliveMs === 0 ? this.#keepAliveMs : keepAliveMs
    const half = this.#keepAliveMs / 2
    this.#timer = setInterval(() => {
      const nowMs = performance.now()
      if (this.#isReading && nowMs - this.#receivedAtMs > 3 * half) {
        this.#end(new UpstreamError(`the broker has sent nothing for ${Math.round(nowMs - this.#receivedAtMs)} ms, and answers no ping`))
      } else if (nowMs - Math.min(this.#sentAtMs, this.#receivedAtMs) >= half) {
        this.#sentAtMs = nowMs
        if (this.#options.socket.writable) this.#options.socket.write(PINGREQ)
      }
    }, half / 2)
  }

  #end (error: UpstreamError | null): void {
    if (this.#phase === 'ended') return
    this.#phase = 'ended'
    clearTimeout(this.#timer)
    this.#options.window.close()
    // `end` sends what was written before; a failed connection is destroyed at once.
    const { socket } = this.#options
    if (error === null) socket.end()
    else socket.destroy()
    this.#options.onEnd(error)
  }
}

/** Accepts a payload that breaks its Payload Format Indicator, because ingest refuses invalid payloads. */
function decode (firstByte: number, bytes: Buffer, start: number, end: number): Publish5 {
  try {
    return decodePublish(firstByte, bytes, start, end)
  } catch (error) {
    if (!(error instanceof PayloadFormatError)) throw error
    return error.publish
  }
}

type OpenOptions = Omit<ConnectionOptions, 'window' | 'onEnd'> & Omit<WindowOptions, 'acknowledge'> & {
  readonly onAcknowledged: (messages: number) => void
}

/**
 * Opens a connection with a window of its own.
 * @returns `ended` resolves with the error; `null`: the bridge closed it
 */
export function openConnection ({ clientId, ingest, onChange, onAcknowledged, ...options }: OpenOptions) {
  const window: Window = new Window({
    clientId,
    ingest,
    onChange,
    acknowledge (packetIds) {
      onAcknowledged(packetIds.length)
      connection.acknowledge(packetIds)
    }
  })
  let onEnd!: ConnectionOptions['onEnd']
  const ended = new Promise<UpstreamError | null>((resolve) => { onEnd = resolve })
  const connection: UpstreamConnection = new UpstreamConnection({ ...options, window, onEnd })
  return { connection, window, ended }
}
