import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt'
import mqttPacket, { type IConnackPacket, type Packet } from 'mqtt-packet'
import { pino } from 'pino'
import type { Test } from 'tap'
import { type Broker, type BrokerOptions, createBroker } from '../../broker/broker.ts'
import type { Ingest, Verdict, VitalPublish } from '../../broker/ingest.ts'
import { until } from './until.ts'

export interface Held { readonly publish: VitalPublish, readonly settle: (verdict: Verdict) => void }

/** An ingest whose verdicts the test decides. */
export class ControlledIngest {
  readonly seen: VitalPublish[] = []
  readonly held: Held[] = []
  /** Answers at once when set. */
  answer: ((publish: VitalPublish) => Verdict) | null

  constructor (answer: ControlledIngest['answer']) {
    this.answer = answer
  }

  readonly ingest: Ingest = (publish) => {
    // A copy, because the packet may later hold the payload for subscribers instead.
    const { topic, device, payload, clientId } = publish
    const settle = (verdict: Verdict) => { publish.settle(verdict) }
    const seen = { topic, device, payload, clientId, settle }
    this.seen.push(seen)
    if (this.answer === null) this.held.push({ publish: seen, settle })
    else settle(this.answer(seen))
  }

  /** Settles everything held so far, in the order of `order` (of arrival when left out). */
  settleAll (toVerdict: (publish: VitalPublish) => Verdict = durable, order: (held: Held[]) => Held[] = (held) => held): void {
    for (const { publish, settle } of order(this.held.splice(0))) settle(toVerdict(publish))
  }
}

export const durable = (publish: VitalPublish): Verdict => ({
  status: 'durable', fanOut: publish.payload, rejections: [], elements: 1, isKept: true
})
export const hidden = (): Verdict => ({ status: 'durable', fanOut: null, rejections: [], elements: 1, isKept: true })
export const unavailable = (): Verdict => ({ status: 'unavailable', reason: 'timeout' })

export interface TestBroker {
  readonly broker: Broker
  readonly port: number
  /** The port of MQTT over TLS. */
  readonly securePort: number | null
  readonly ingest: ControlledIngest
  readonly log: Array<Record<string, unknown>>
}

/** A broker on a free port, stopped with the test. Without `answer` each publish waits for the test. */
export async function startBroker (
  t: Test, options: Partial<BrokerOptions> & { answer?: (publish: VitalPublish) => Verdict } = {}
): Promise<TestBroker> {
  const { answer, ...brokerOptions } = options
  const ingest = new ControlledIngest(answer ?? null)
  const log: TestBroker['log'] = []
  const logger = pino({ level: 'debug' }, { write: (line: string) => { log.push(JSON.parse(line)) } })
  const broker = createBroker({ host: '127.0.0.1', port: 0, version: '1.2.3', ingest: ingest.ingest, logger, ...brokerOptions })
  const { port, securePort } = await broker.start()
  t.teardown(() => broker.stop())
  return { broker, port, securePort, ingest, log }
}

/** Waits for pending work, so that a test can assert that something did not happen. */
export const settleDown = () => sleep(100)

/** The expiry of a session of MQTT 5 that a test keeps as in 3.1.1, without an expiry of its own. */
const SESSION_EXPIRY_S = 60

/** A client that sends packets, so that a test can do things that a library would not. */
export class RawClient {
  readonly socket: Socket
  readonly packets: Packet[] = []
  isClosed = false
  readonly #protocolVersion: 4 | 5

  private constructor (socket: Socket, protocolVersion: 4 | 5) {
    this.socket = socket
    this.#protocolVersion = protocolVersion
    const parser = mqttPacket.parser({ protocolVersion })
    parser.on('packet', (packet) => { this.packets.push(packet) })
    socket.on('data', (chunk) => { parser.parse(chunk) })
    socket.on('close', () => { this.isClosed = true })
    socket.on('error', () => {})
  }

  static async open (t: Test, port: number, protocolVersion: 4 | 5 = 4): Promise<RawClient> {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true })
    t.teardown(() => { socket.destroy() })
    const client = new RawClient(socket, protocolVersion)
    await once(socket, 'connect')
    return client
  }

  /** Opens a connection and waits for CONNACK 0. @throws Error at any other answer */
  static async connected (t: Test, port: number, options: Partial<mqttPacket.IConnectPacket> = {}): Promise<RawClient> {
    const client = await RawClient.open(t, port, options.protocolVersion === 5 ? 5 : 4)
    const connack = await client.connect(options)
    const code = connack.returnCode ?? connack.reasonCode
    if (code !== 0) throw new Error(`CONNACK ${code}`)
    return client
  }

  async connect (options: Partial<mqttPacket.IConnectPacket> = {}): Promise<IConnackPacket> {
    const isKept = this.#protocolVersion === 5 && options.clean === false
    const properties = isKept ? { properties: { sessionExpiryInterval: SESSION_EXPIRY_S } } : {}
    this.send(connectPacket({ protocolVersion: this.#protocolVersion, ...properties, ...options }))
    await until(() => this.of('connack').length > 0 || this.isClosed, 'CONNACK')
    return this.of('connack')[0] ?? { cmd: 'connack', returnCode: -1, sessionPresent: false }
  }

  /** All packets in one write. */
  send (...packets: Packet[]): void {
    this.socket.write(Buffer.concat(packets.map((packet) => mqttPacket.generate(packet, { protocolVersion: this.#protocolVersion }))))
  }

  /** Byte by byte, each in a write of its own. */
  async sendInPieces (packet: Packet): Promise<void> {
    for (const byte of mqttPacket.generate(packet)) {
      this.socket.write(Buffer.from([byte]))
      await new Promise((resolve) => { setImmediate(resolve) })
    }
  }

  of<C extends Packet['cmd']> (cmd: C): Array<Extract<Packet, { cmd: C }>> {
    return this.packets.filter((packet): packet is Extract<Packet, { cmd: C }> => packet.cmd === cmd)
  }

  ids (cmd: 'puback' | 'pubrec' | 'pubcomp'): Array<number | undefined> {
    return this.of(cmd).map(({ messageId }) => messageId)
  }

  async waitFor (cmd: Packet['cmd'], count = 1): Promise<void> {
    await until(() => this.of(cmd).length >= count, () => `${count} × ${cmd}, got ${this.of(cmd).length}`)
  }

  async subscribe (filters: Record<string, 0 | 1 | 2>): Promise<number[]> {
    const count = this.of('suback').length
    this.send({ cmd: 'subscribe', messageId: 1, subscriptions: Object.entries(filters).map(([topic, qos]) => ({ topic, qos })) })
    await this.waitFor('suback', count + 1)
    return this.of('suback')[count]!.granted as number[]
  }

  /** The messages on all topics, as `topic payload`. */
  messages (): string[] {
    return this.of('publish').map(({ topic, payload }) => `${topic} ${payload.toString()}`)
  }

  async closed (): Promise<void> {
    await until(() => this.isClosed, 'the connection to close')
  }
}

/** Both versions, for tests that hold for each: connections of 3.1.1 and of 5 are different code. */
export const VERSIONS = ([4, 5] as const).map((protocolVersion) => ({
  protocolVersion,
  /** For the end of a test's name. */
  suffix: protocolVersion === 5 ? ' (MQTT 5)' : '',
  clients: {
    open: (t: Test, port: number) => RawClient.open(t, port, protocolVersion),
    connected: (t: Test, port: number, options: Partial<mqttPacket.IConnectPacket> = {}) =>
      RawClient.connected(t, port, { protocolVersion, ...options })
  }
}))

export function connectPacket (options: Partial<mqttPacket.IConnectPacket> = {}): mqttPacket.IConnectPacket {
  return {
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 4,
    clean: true,
    clientId: `raw-${Math.random().toString(36).slice(2)}`,
    keepalive: 0,
    ...options
  }
}

export function publishPacket (messageId: number, options: Partial<mqttPacket.IPublishPacket> = {}): mqttPacket.IPublishPacket {
  const { qos = 1 } = options
  return {
    cmd: 'publish',
    topic: 'vital/band-1',
    payload: `m${messageId}`,
    qos,
    retain: false,
    dup: false,
    ...(qos > 0
      ? { messageId }
      : {}),
    ...options
  }
}

/** mqtt.js, closed with the test. */
export async function connectClient (t: Test, port: number, options: IClientOptions = {}): Promise<MqttClient> {
  const client = await connectAsync(`mqtt://127.0.0.1:${port}`, { reconnectPeriod: 0, ...options })
  client.on('error', () => {})
  t.teardown(() => client.endAsync(true))
  return client
}

/** Repeatable random numbers (mulberry32). */
export function createRandom (seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

export function shuffled<T> (items: readonly T[], random: () => number): T[] {
  const result = [...items]
  for (let at = result.length - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1));
    [result[at], result[other]] = [result[other]!, result[at]!]
  }
  return result
}
