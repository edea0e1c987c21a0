import { connect, type Socket } from 'node:net'
import mqttPacket, { type Packet } from 'mqtt-packet'

const RECONNECT_MIN_MS = 80
const RECONNECT_MAX_MS = 300
const CONNECT_TIMEOUT_MS = 10_000
/** Unacknowledged messages at once; at the bound it publishes nothing new. */
const WINDOW = 100
const PACKET_ID_MAX = 65_535

export interface WardPublisherOptions {
  readonly clientId: string
  readonly port: () => number
  readonly topics: readonly string[]
  readonly random: (min: number, max: number) => number
  /** Whether no gateway can know of the client's session now. */
  readonly mayLoseSession: () => boolean
  /** Its connection has ended, though it was not closed here. */
  readonly onClose?: () => void
}

/** When a message was first written, and when it was acknowledged, in Unix milliseconds. */
export interface Sent {
  readonly sentAtMs: number
  acknowledgedAtMs: number | null
}

interface Outgoing {
  readonly topic: string
  readonly payload: string
  readonly qos: 1 | 2
  readonly time: Sent
  isSent: boolean
  /** PUBREC came. */
  isReceived: boolean
}

/**
 * Publishes numbered messages outside `vital/` at QoS 1 and 2 for {@link SessionSubscriber}s. It keeps its session:
 * unacknowledged messages are sent again in their order after each reconnect, so in the end all that it has counted
 * must arrive.
 */
export class WardPublisher {
  readonly #options: WardPublisherOptions
  /** `{topic} {QoS}` → number of the last message. */
  readonly counts = new Map<string, number>()
  /** `{topic} {QoS}` → times of each message. */
  readonly times = new Map<string, Sent[]>()
  /** `{topic} {QoS} {number}`: sent again to a gateway that could not know of the first time. */
  readonly repeatable = new Set<string>()
  readonly #outgoing = new Map<number, Outgoing>()
  #lastId = 0
  #socket: Socket | null = null
  #isConnected = false
  #isEnded = false

  constructor (options: WardPublisherOptions) {
    this.#options = options
  }

  get isConnected (): boolean { return this.#isConnected }

  get unacknowledged (): number { return this.#outgoing.size }

  connect (): void {
    const { clientId, port, random, onClose } = this.#options
    const socket = connect({ host: '127.0.0.1', port: port(), noDelay: true })
    this.#socket = socket
    const parser = mqttPacket.parser()
    parser.on('packet', (packet) => { if (this.#socket === socket) this.#take(packet) })
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => { socket.destroy() })
    socket.on('connect', () => {
      this.#send({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: false, clientId, keepalive: 0 })
    })
    socket.on('data', (chunk) => { parser.parse(chunk) })
    socket.on('error', () => { /* `close` follows. */ })
    socket.on('close', () => {
      if (this.#socket !== socket) return
      this.#socket = null
      this.#isConnected = false
      if (this.#isEnded) return
      onClose?.()
      setTimeout(() => { if (!this.#isEnded) this.connect() }, random(RECONNECT_MIN_MS, RECONNECT_MAX_MS))
    })
  }

  /** One message on each topic. */
  publish (): void {
    for (const topic of this.#options.topics) {
      if (this.#outgoing.size >= WINDOW) return
      const qos = this.#options.random(0, 1) < 0.5 ? 1 : 2
      const name = `${topic} ${qos}`
      const number = (this.counts.get(name) ?? 0) + 1
      this.counts.set(name, number)
      do this.#lastId = this.#lastId % PACKET_ID_MAX + 1
      while (this.#outgoing.has(this.#lastId))
      const time: Sent = { sentAtMs: Date.now(), acknowledgedAtMs: null }
      const times = this.times.get(name) ?? []
      this.times.set(name, times)
      times.push(time)
      const outgoing: Outgoing = { topic, payload: `${qos}:${number}`, qos, time, isSent: false, isReceived: false }
      this.#outgoing.set(this.#lastId, outgoing)
      if (this.#isConnected) this.#write(this.#lastId, outgoing)
    }
  }

  end (): void {
    this.#isEnded = true
    this.#socket?.destroy()
  }

  #take (packet: Packet): void {
    const { messageId = 0 } = packet
    switch (packet.cmd) {
      case 'connack':
        if (packet.returnCode !== 0) return
        this.#isConnected = true
        this.#socket?.setTimeout(0)
        if (!packet.sessionPresent && this.#options.mayLoseSession()) this.#noteRepeatable()
        for (const [id, outgoing] of this.#outgoing) {
          if (outgoing.isReceived) this.#send({ cmd: 'pubrel', messageId: id })
          else this.#write(id, outgoing)
        }
        break
      case 'pubrec': {
        const outgoing = this.#outgoing.get(messageId)
        if (outgoing !== undefined) {
          outgoing.isReceived = true
          outgoing.time.acknowledgedAtMs ??= Date.now()
        }
        this.#send({ cmd: 'pubrel', messageId })
        break
      }
      case 'puback':
      case 'pubcomp': {
        const outgoing = this.#outgoing.get(messageId)
        if (outgoing !== undefined) outgoing.time.acknowledgedAtMs ??= Date.now()
        this.#outgoing.delete(messageId)
        break
      }
      default:
    }
  }

  #noteRepeatable (): void {
    for (const { topic, payload, qos, isSent, isReceived } of this.#outgoing.values()) {
      if (qos === 2 && isSent && !isReceived) this.repeatable.add(`${topic} ${payload.replace(':', ' ')}`)
    }
  }

  #write (messageId: number, outgoing: Outgoing): void {
    const { topic, payload, qos, isSent } = outgoing
    outgoing.isSent = true
    this.#send({ cmd: 'publish', topic, payload, qos, messageId, retain: false, dup: isSent })
  }

  #send (packet: Packet): void {
    this.#socket?.write(mqttPacket.generate(packet))
  }
}
