/**
 * Messages of one connection that are not acknowledged. They become durable in any order. Their PUBACKs are sent in the
 * order in which the messages arrived [MQTT-4.6.0-2]; those of one turn of the event loop share a write.
 */
import type { Ingest, Verdict, VitalPublish } from '../../broker/ingest.ts'

interface HeldOptions {
  readonly window: Window
  /** 0 at QoS 0, which is not acknowledged. */
  readonly packetId: number
  readonly topic: string
  readonly device: string | null
  readonly payload: Buffer
}

/** One message; thousands exist at once, so it holds no closure. */
export class HeldMessage implements VitalPublish {
  readonly packetId: number
  readonly topic: string
  readonly device: string | null
  readonly payload: Buffer
  isDurable = false
  next: HeldMessage | null = null
  readonly #window: Window

  constructor ({ window, packetId, topic, device, payload }: HeldOptions) {
    this.#window = window
    this.packetId = packetId
    this.topic = topic
    this.device = device
    this.payload = payload
  }

  get clientId (): string {
    return this.#window.clientId
  }

  settle (verdict: Verdict): void {
    this.#window.settle(this, verdict)
  }
}

export interface WindowOptions {
  /** Client id of the bridge, because MQTT does not name the publisher. */
  readonly clientId: string
  readonly ingest: Ingest
  /** Called with packet ids to acknowledge, in order. */
  readonly acknowledge: (packetIds: readonly number[]) => void
  /** Called when fewer messages are held, or when some wait to be tried again. */
  readonly onChange: () => void
}

/** See the top of this file. */
export class Window {
  readonly clientId: string
  readonly #options: WindowOptions
  #head: HeldMessage | null = null
  #tail: HeldMessage | null = null
  readonly #packetIds = new Set<number>()
  #bytes = 0
  /** Messages that neither the target nor the spool took in time. */
  #refused: HeldMessage[] = []
  #due: number[] = []
  #isClosed = false
  readonly #flush = () => {
    const due = this.#due
    this.#due = []
    if (!this.#isClosed && due.length > 0) this.#options.acknowledge(due)
  }

  constructor (options: WindowOptions) {
    this.#options = options
    this.clientId = options.clientId
  }

  /** Number of messages that are not acknowledged. */
  get size (): number {
    return this.#packetIds.size
  }

  /** Bytes of their payloads. */
  get bytes (): number {
    return this.#bytes
  }

  /** Whether messages wait for {@link resubmit}. */
  get hasRefused (): boolean {
    return this.#refused.length > 0
  }

  /**
   * Whether a packet id is held. A broker may resend a message on one connection, against [MQTT-4.4.0-1]; only the
   * first is answered.
   */
  isHeld (packetId: number): boolean {
    return this.#packetIds.has(packetId)
  }

  /** Takes a message and passes it to ingest. */
  take (message: Omit<HeldOptions, 'window'>): void {
    const held = new HeldMessage({ ...message, window: this })
    if (held.packetId !== 0) {
      this.#packetIds.add(held.packetId)
      this.#bytes += held.payload.length
      if (this.#tail === null) this.#head = held
      else this.#tail.next = held
      this.#tail = held
    }
    this.#options.ingest(held)
  }

  settle (held: HeldMessage, verdict: Verdict): void {
    if (this.#isClosed || held.packetId === 0) return
    if (verdict.status === 'durable') {
      held.isDurable = true
      this.#drain()
    } else if (verdict.reason !== 'stopping') {
      this.#refused.push(held)
      this.#options.onChange()
    }
  }

  /** Tries messages again that could not be made durable. */
  resubmit (): void {
    const refused = this.#refused
    this.#refused = []
    for (const held of refused) this.#options.ingest(held)
  }

  /** Called when the connection has ended. The broker sends unacknowledged messages again. */
  close (): void {
    this.#flush()
    this.#isClosed = true
    this.#refused = []
    this.#head = this.#tail = null
    this.#packetIds.clear()
    this.#bytes = 0
  }

  #drain (): void {
    const before = this.#due.length
    for (let head = this.#head; head?.isDurable === true; head = this.#head) {
      this.#head = head.next
      // A message in V8's old generation would keep all later messages alive until a major collection.
      head.next = null
      if (this.#head === null) this.#tail = null
      this.#packetIds.delete(head.packetId)
      this.#bytes -= head.payload.length
      this.#due.push(head.packetId)
    }
    if (this.#due.length === before) return
    if (before === 0) process.nextTick(this.#flush)
    this.#options.onChange()
  }
}
