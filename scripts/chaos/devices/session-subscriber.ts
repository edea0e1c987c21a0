import { connect, type Socket } from 'node:net'
import mqttPacket, { type IPublishPacket, type Packet } from 'mqtt-packet'

type QoS = 0 | 1 | 2

const RECONNECT_MIN_MS = 20
const RECONNECT_MAX_MS = 250
/** The session does not expire. */
const NEVER_S = 0xffff_ffff

export interface SessionSubscriberOptions {
  readonly clientId: string
  readonly port: () => number
  /** 4: MQTT 3.1.1. */
  readonly protocolVersion: 4 | 5
  /** Filters with the QoS asked for; they overlap. */
  readonly filters: Readonly<Record<string, QoS>>
  /** Longest that an acknowledgement is held back. */
  readonly ackDelayMsMax: number
  /**
   * A gateway that takes the session over from one that has died may repeat a delivery of QoS 1 without the DUP flag, and
   * use its packet id for another.
   */
  readonly isClustered: boolean
  readonly random: (min: number, max: number) => number
  /** Whether no gateway can know of the client's session now. */
  readonly mayLoseSession: () => boolean
  /** Whether a message was sent again because its publisher had lost its session. @param what - topic, QoS, number */
  readonly mayRepeat: (what: string) => boolean
  /** It has subscribed again, because its session was lost. */
  readonly onLost: () => void
  readonly onViolation: (message: string) => void
}

/** The messages that came of one topic and one published QoS: their numbers, and the highest of them. */
interface Stream {
  readonly seen: Set<number>
  last: number
}

/** A subscriber with a persistent session that is cut off at random, and records what it was sent. */
export class SessionSubscriber {
  readonly #options: SessionSubscriberOptions
  /** Unix milliseconds of each CONNACK. */
  readonly connectedAtMs: number[] = []
  readonly #streams = new Map<string, Stream>()
  /** Deliveries of QoS 1 and 2 that were not answered yet, over all connections: their packet ids are taken. */
  readonly #unanswered = new Map<number, string>()
  /** Packet ids of QoS 2 between PUBLISH and PUBREL [MQTT-4.3.3-2]. */
  readonly #received = new Set<number>()
  #socket: Socket | null = null
  #isEnded = false
  #isSubscribed = false
  /** Numbers up to which no message need come, by stream. */
  readonly #forgiven = new Map<string, number>()
  #hasLost = false
  repeated = 0
  lost = 0

  constructor (options: SessionSubscriberOptions) {
    this.#options = options
  }

  get clientId (): string { return this.#options.clientId }

  get isSubscribed (): boolean { return this.#isSubscribed }

  connect (): void {
    const { clientId, port, protocolVersion } = this.#options
    const socket = connect({ host: '127.0.0.1', port: port(), noDelay: true })
    this.#socket = socket
    const parser = mqttPacket.parser({ protocolVersion })
    parser.on('packet', (packet) => { if (this.#socket === socket) this.#take(packet) })
    socket.on('connect', () => {
      if (this.#options.isClustered) for (const id of this.#unanswered.keys()) if (!this.#received.has(id)) this.#unanswered.delete(id)
      const expiry = protocolVersion === 5 ? { properties: { sessionExpiryInterval: NEVER_S } } : {}
      this.#send({ cmd: 'connect', protocolId: 'MQTT', protocolVersion, clean: false, clientId, keepalive: 60, ...expiry })
    })
    socket.on('data', (chunk) => { parser.parse(chunk) })
    socket.on('error', () => { /* `close` follows. */ })
    socket.on('close', () => {
      if (this.#socket !== socket) return
      this.#socket = null
      if (!this.#isEnded) setTimeout(() => { this.connect() }, this.#options.random(RECONNECT_MIN_MS, RECONNECT_MAX_MS))
    })
  }

  cut (): void { this.#socket?.destroy() }

  end (): void {
    this.#isEnded = true
    this.#socket?.destroy()
  }

  /** The QoS that a message on `topic` must have. */
  grantedFor (topic: string, publishedQoS: QoS): QoS {
    let granted = -1
    for (const [filter, qos] of Object.entries(this.#options.filters)) {
      if (matches(filter, topic)) granted = Math.max(granted, qos)
    }
    return Math.max(0, Math.min(granted, publishedQoS)) as QoS
  }

  /** The messages 1 to `count` need not come. @param name - topic and QoS */
  forgive (name: string, count: number): void { this.#forgiven.set(name, count) }

  /** @returns how many of the messages 1 to `count` have not come */
  missing (topic: string, publishedQoS: QoS, count: number): number {
    let missing = 0
    for (let number = count; number > (this.#forgiven.get(`${topic} ${publishedQoS}`) ?? 0); number--) {
      if (!this.has(topic, publishedQoS, number)) missing++
    }
    return missing
  }

  has (topic: string, publishedQoS: QoS, number: number): boolean {
    const name = `${topic} ${publishedQoS}`
    return this.#streams.get(name)?.seen.has(number) === true || number <= (this.#forgiven.get(name) ?? 0)
  }

  #take (packet: Packet): void {
    switch (packet.cmd) {
      case 'connack': {
        this.connectedAtMs.push(Date.now())
        const subscriptions = Object.entries(this.#options.filters).map(([topic, qos]) => ({ topic, qos }))
        if (this.#isSubscribed && !packet.sessionPresent) {
          if (!this.#options.mayLoseSession()) this.#options.onViolation(`${this.#options.clientId}: its session is gone`)
          this.#hasLost = true
          this.#unanswered.clear()
          this.#received.clear()
          this.lost++
        }
        if (!this.#isSubscribed || !packet.sessionPresent) this.#send({ cmd: 'subscribe', messageId: 1, subscriptions })
        break
      }
      case 'suback':
        this.#isSubscribed = true
        if (this.#hasLost) this.#options.onLost()
        this.#hasLost = false
        break
      case 'publish':
        this.#receive(packet)
        break
      case 'pubrel': {
        const { messageId } = packet
        this.#received.delete(messageId as number)
        this.#unanswered.delete(messageId as number)
        this.#send({ cmd: 'pubcomp', messageId: messageId as number })
        break
      }
      default:
    }
  }

  #receive ({ topic, payload, qos, messageId = 0, dup }: IPublishPacket): void {
    const { onViolation, clientId, random, ackDelayMsMax } = this.#options
    const text = payload.toString()
    const [publishedQoS, number] = text.split(':').map(Number) as [QoS, number]
    const granted = this.grantedFor(topic, publishedQoS)
    if (qos > granted) onViolation(`${clientId}: ${topic} ${text} came at QoS ${qos}, granted ${granted}`)
    if (qos === 0) return
    const what = `${topic} ${text}`
    const held = this.#unanswered.get(messageId)
    if (held !== undefined && held !== what) {
      onViolation(`${clientId}: packet id ${messageId} is in flight with ${held}, and came with ${what}`)
    }
    this.#unanswered.set(messageId, what)
    if (qos === 1 || !this.#received.has(messageId)) this.#note(`${topic} ${publishedQoS}`, number, qos, dup)
    if (qos === 2) this.#received.add(messageId)
    const socket = this.#socket
    setTimeout(() => {
      if (this.#socket !== socket || socket === null || socket.destroyed) return
      if (qos === 1) this.#unanswered.delete(messageId)
      this.#send({ cmd: qos === 1 ? 'puback' : 'pubrec', messageId })
    }, ackDelayMsMax === 0 ? 0 : random(0, ackDelayMsMax))
  }

  #note (name: string, number: number, qos: QoS, isDuplicate: boolean): void {
    const { onViolation, clientId, isClustered, mayRepeat } = this.#options
    let stream = this.#streams.get(name)
    if (stream === undefined) this.#streams.set(name, stream = { seen: new Set(), last: 0 })
    if (stream.seen.has(number)) {
      this.repeated++
      if (qos === 2 && !mayRepeat(`${name} ${number}`)) onViolation(`${clientId}: ${name} ${number} came twice at QoS 2`)
      else if (qos === 1 && !isDuplicate && !isClustered) onViolation(`${clientId}: ${name} ${number} came twice without DUP`)
      return
    }
    stream.seen.add(number)
    if (number < stream.last) onViolation(`${clientId}: ${name} ${number} came behind ${stream.last}`)
    stream.last = Math.max(stream.last, number)
  }

  #send (packet: Packet): void {
    this.#socket?.write(mqttPacket.generate(packet, { protocolVersion: this.#options.protocolVersion }))
  }
}

function matches (filter: string, topic: string): boolean {
  const [wanted, levels] = [filter.split('/'), topic.split('/')]
  for (const [index, level] of wanted.entries()) {
    if (level === '#') return true
    if (level !== '+' && level !== levels[index]) return false
  }
  return wanted.length === levels.length
}
