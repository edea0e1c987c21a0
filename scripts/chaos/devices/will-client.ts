import { connect, type Socket } from 'node:net'
import mqttPacket from 'mqtt-packet'
import type { Sent } from './ward-publisher.ts'

const RECONNECT_MIN_MS = 100
const RECONNECT_MAX_MS = 400
const CONNECT_TIMEOUT_MS = 10_000

export interface WillClientOptions {
  readonly clientId: string
  readonly port: () => number
  /** 4: MQTT 3.1.1. */
  readonly protocolVersion: 4 | 5
  /** Whether a gateway is stopping: the wills of clients that it closes are dropped. */
  readonly mayDropWill: () => boolean
  readonly random: (min: number, max: number) => number
}

/**
 * A client whose will at QoS 1 tells the number of its connection. It never sends DISCONNECT, so each connection that got a
 * CONNACK and has ended owes its will to the subscribers. The number of a connection without a CONNACK, or to a gateway
 * that stops, is used again: its will may come or not.
 */
export class WillClient {
  readonly #options: WillClientOptions
  readonly topic: string
  /** `{topic} 1` → number of the last connection that has ended. */
  readonly counts = new Map<string, number>()
  /** `{topic} 1` → Unix milliseconds of the CONNACK of each connection, and of its end. */
  readonly times = new Map<string, Sent[]>()
  #socket: Socket | null = null
  #isEnded = false

  constructor (options: WillClientOptions) {
    this.#options = options
    this.topic = `will/${options.clientId}`
    this.times.set(`${this.topic} 1`, [])
  }

  connect (): void {
    const { clientId, port, protocolVersion, mayDropWill, random } = this.#options
    const name = `${this.topic} 1`
    const number = (this.counts.get(name) ?? 0) + 1
    let connectedAtMs: number | null = null
    const socket = connect({ host: '127.0.0.1', port: port(), noDelay: true })
    this.#socket = socket
    const parser = mqttPacket.parser({ protocolVersion })
    parser.on('packet', (packet) => {
      if (packet.cmd !== 'connack' || (packet.reasonCode ?? packet.returnCode) !== 0) return
      connectedAtMs = Date.now()
      socket.setTimeout(0)
    })
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => { socket.destroy() })
    socket.on('connect', () => {
      socket.write(mqttPacket.generate({
        cmd: 'connect',
        protocolId: 'MQTT',
        protocolVersion,
        clean: true,
        clientId,
        keepalive: 0,
        will: { topic: this.topic, payload: Buffer.from(`1:${number}`), qos: 1, retain: false }
      }, { protocolVersion }))
    })
    socket.on('data', (chunk) => { parser.parse(chunk) })
    socket.on('error', () => { /* `close` follows. */ })
    socket.on('close', () => {
      if (this.#socket !== socket) return
      this.#socket = null
      if (this.#isEnded) return
      if (connectedAtMs !== null && !mayDropWill()) {
        this.counts.set(name, number)
        this.times.get(name)!.push({ sentAtMs: connectedAtMs, acknowledgedAtMs: Date.now() })
      }
      setTimeout(() => { if (!this.#isEnded) this.connect() }, random(RECONNECT_MIN_MS, RECONNECT_MAX_MS))
    })
  }

  cut (): void { this.#socket?.destroy() }

  end (): void {
    this.#isEnded = true
    this.#socket?.destroy()
  }
}
