import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import mqttPacket, { type Packet } from 'mqtt-packet'
import { until } from '../../harness/until.ts'

/** Longer than the gateway takes under any attack, so that only answers that never come are reported. */
const WAIT_MS = 20_000
const POLL_MS = 20
const MARKER = 'chat/marker'

type QoS = 0 | 1 | 2

interface ReaderOptions {
  readonly name: string
  readonly filters: Readonly<Record<string, QoS>>
  /** Comes back to its session. */
  readonly isKept?: boolean
}

/** Live ones. One sees everything, the others only relayed messages: otherwise the attack would only feed them. */
export const READERS: readonly ReaderOptions[] = [
  { name: 'all', filters: { '#': 1 } },
  { name: 'qos-0', filters: { 'chat/#': 0 } },
  { name: 'qos-1', filters: { 'chat/+': 1, 'chat/#': 1 } },
  { name: 'qos-2', filters: { 'chat/#': 2, 'vital/+/rejected': 2 } },
  { name: 'statistics', filters: { '$SYS/#': 2, 'chat/marker': 0 } },
  { name: 'kept', filters: { 'chat/#': 2, 'vital/+/rejected': 1 }, isKept: true }
]

/** Comes after a round and reads all that is retained. */
const LATE: ReaderOptions = { name: 'late', filters: { '#': 2, '$SYS/#': 1, 'vital/#': 1 } }

/** One subscriber, by the letter of MQTT 3.1.1. */
class Reader {
  readonly #options: ReaderOptions
  readonly #socket: Socket
  readonly faults: string[] = []
  readonly #markers = new Set<string>()
  #isConnected = false
  #isSubscribed = false
  #isLeaving = false

  constructor (port: number, options: ReaderOptions) {
    const { name, isKept = false } = options
    this.#options = options
    this.#socket = connect({ host: '127.0.0.1', port, noDelay: true })
    const parser = mqttPacket.parser()
    parser.on('packet', (packet) => { this.#receive(packet) })
    parser.on('error', (error) => { this.#fault(`got bytes that are not MQTT: ${error.message}`) })
    this.#socket.on('data', (chunk: Buffer) => { parser.parse(chunk) })
    this.#socket.on('error', () => { /* `close` follows. */ })
    this.#socket.on('close', () => { if (!this.#isLeaving) this.#fault('was closed') })
    this.#send({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: !isKept, clientId: `reader-${name}`, keepalive: 0 })
  }

  #fault (message: string): void {
    this.faults.push(`the subscriber "${this.#options.name}" ${message}`)
  }

  #send (packet: Packet): void {
    if (this.#socket.writable) this.#socket.write(mqttPacket.generate(packet))
  }

  /** Waits until something holds, or something went wrong. */
  async #until (holds: () => boolean): Promise<boolean> {
    return await until(() => holds() || this.faults.length > 0, WAIT_MS, POLL_MS) !== null
  }

  #receive (packet: Packet): void {
    if (packet.cmd === 'connack') this.#isConnected = packet.returnCode === 0
    else if (packet.cmd === 'suback') this.#isSubscribed = packet.granted.every((granted) => granted !== 128)
    else if (packet.cmd === 'pubrel') this.#send({ cmd: 'pubcomp', messageId: packet.messageId! })
    else if (packet.cmd === 'publish') {
      if (packet.topic === MARKER) this.#markers.add(packet.payload.toString())
      if (packet.qos === 1) this.#send({ cmd: 'puback', messageId: packet.messageId! })
      if (packet.qos === 2) this.#send({ cmd: 'pubrec', messageId: packet.messageId! })
    }
  }

  async subscribe (): Promise<void> {
    if (!await this.#until(() => this.#isConnected)) this.#fault('got no CONNACK')
    const subscriptions = Object.entries(this.#options.filters).map(([topic, qos]) => ({ topic, qos }))
    this.#send({ cmd: 'subscribe', messageId: 1, subscriptions })
    if (!await this.#until(() => this.#isSubscribed)) this.#fault('got no SUBACK')
  }

  /** Waits for a message that was published behind all that is retained or queued. */
  async sees (marker: string): Promise<void> {
    if (!await this.#until(() => this.#markers.has(marker))) this.#fault('gets no messages any more')
  }

  publish (marker: string): void {
    this.#send({ cmd: 'publish', topic: MARKER, payload: marker, qos: 1, messageId: 1, dup: false, retain: false })
  }

  async leave (): Promise<void> {
    this.#isLeaving = true
    if (this.#socket.destroyed) return
    const closed = once(this.#socket, 'close')
    this.#socket.destroy()
    await closed
  }
}

/** The subscribers of a run. */
export function createReaders (port: number) {
  const readers = new Map<string, Reader>()
  let checks = 0

  async function open (options: ReaderOptions): Promise<void> {
    const reader = new Reader(port, options)
    readers.set(options.name, reader)
    await reader.subscribe()
  }

  async function see (marker: string): Promise<void> {
    readers.get('qos-1')?.publish(marker)
    await Promise.all([...readers.values()].map((reader) => reader.sees(marker)))
  }

  const faults = () => [...readers.values()].flatMap((reader) => reader.faults)

  return {
    async start (): Promise<string[]> {
      await Promise.all(READERS.map(open))
      return faults()
    },

    /**
     * Checks after a round that all are still there and get messages, that the kept one comes back to its queue, and
     * that a late one can read all that is retained.
     */
    async check (): Promise<string[]> {
      const before = faults()
      await readers.get('kept')?.leave()
      await Promise.all([open(LATE), open(READERS.find(({ isKept = false }) => isKept)!)])
      await see(`marker-${++checks}`)
      const found = [...new Set([...before, ...faults()])]
      await readers.get('late')?.leave()
      readers.delete('late')
      return found
    }
  }
}
