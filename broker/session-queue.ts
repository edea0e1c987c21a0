/** A message that waits for its session's client. */
interface QueuedPublish {
  readonly cmd: 'publish'
  readonly brokerId: string
  readonly brokerCounter: number
  readonly topic: string
  readonly payload: Buffer
  readonly qos: 0 | 1 | 2
  readonly retain: false
  dup: boolean
  messageId?: number
}

/** What a session still has to deliver: a message, or the PUBREL of a QoS 2 message that its client has received. */
export type Outgoing = QueuedPublish | { readonly cmd: 'pubrel', readonly messageId: number }

interface Queued {
  readonly counter: number
  packet: Outgoing
  messageId: number | undefined
  bytes: number
}

/** An object, a map entry and an index entry. */
const MESSAGE_BYTES = 300

/** Messages of one persistent session that its client has not acknowledged, oldest first. */
export class SessionQueue {
  /** By Aedes' own number of the message, which is the same in every copy of the packet. */
  readonly #byCounter = new Map<number, Queued>()
  readonly #byMessageId = new Map<number, Queued>()

  /** Of the messages in it. */
  bytes = 0

  get size (): number {
    return this.#byCounter.size
  }

  /** @returns bytes added */
  add (packet: QueuedPublish): number {
    const counter = packet.brokerCounter
    const bytes = packet.payload.length + packet.topic.length * 2 + MESSAGE_BYTES
    this.#byCounter.set(counter, { counter, packet, messageId: undefined, bytes })
    this.bytes += bytes
    return bytes
  }

  /** Notes the packet id under which a message is sent, or that only its PUBREL is left to send. */
  update (packet: { cmd: string, brokerCounter?: number, messageId?: number | undefined }): void {
    const { messageId } = packet
    const queued = this.#find(packet)
    if (queued === undefined || messageId === undefined) return
    if (packet.cmd === 'pubrel') {
      queued.packet = { cmd: 'pubrel', messageId }
    } else if (queued.packet.cmd === 'publish') {
      // From now on it is a redelivery [MQTT-3.3.1-1].
      queued.packet.messageId = messageId
      queued.packet.dup = true
    }
    queued.messageId = messageId
    this.#byMessageId.set(messageId, queued)
  }

  /** Removes an acknowledged message; without a packet id, one that was not sent at all. */
  remove (packet: { brokerCounter?: number, messageId?: number | undefined }): { packet: Outgoing, bytes: number } | null {
    const queued = this.#find(packet)
    if (queued === undefined) return null
    this.#byCounter.delete(queued.counter)
    this.bytes -= queued.bytes
    if (queued.messageId !== undefined && this.#byMessageId.get(queued.messageId) === queued) {
      this.#byMessageId.delete(queued.messageId)
    }
    return queued
  }

  /** Drops messages by their topic; one that its client has received already is left to end its exchange. @returns how many, and their bytes */
  drop (isMeant: (topic: string) => boolean): { count: number, bytes: number } {
    const meant = [...this.#byCounter.values()].filter(({ packet }) => packet.cmd === 'publish' && isMeant(packet.topic))
    for (const queued of meant) this.remove({ brokerCounter: queued.counter })
    return { count: meant.length, bytes: meant.reduce((sum, { bytes }) => sum + bytes, 0) }
  }

  /** Everything, to be sent again. */
  packets (): Outgoing[] {
    return Array.from(this.#byCounter.values(), (queued) => queued.packet)
  }

  /** @returns bytes freed */
  clear (): number {
    const { bytes } = this
    this.bytes = 0
    this.#byCounter.clear()
    this.#byMessageId.clear()
    return bytes
  }

  #find ({ brokerCounter, messageId }: { brokerCounter?: number, messageId?: number | undefined }): Queued | undefined {
    const byCounter = brokerCounter === undefined ? undefined : this.#byCounter.get(brokerCounter)
    return byCounter ?? (messageId === undefined ? undefined : this.#byMessageId.get(messageId))
  }
}
