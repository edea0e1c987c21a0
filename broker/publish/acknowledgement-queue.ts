import type { PublishPacket } from 'aedes'
import type { Verdict, VitalPublish } from '../ingest.ts'

/**
 * Why a publish that did not go to ingest is refused. MQTT 3.1.1 closes the connection for these.
 * - `not_allowed`: its topic is not the principal's
 * - `topic`: its topic is over a limit
 * - `payload_format`: its payload is not the text that it promises (MQTT 5)
 */
export type Refusal = 'not_allowed' | 'topic' | 'payload_format'

/** The outcome of a held publish; `relayed`: it did not go to ingest and only waited for its turn. */
export type Outcome = Verdict | 'relayed' | Refusal

/** Acknowledges and fans out; an error closes the client instead. */
export type Callback<C> = (error: Error | null, packet: PublishPacket, connection: C, outcome: Outcome) => void

/**
 * Replaces the payload of a publish that no subscription matched when it came: while it is held, its payload would keep
 * the chunk of the socket that it came in. A subscription that is made later gets later messages.
 */
export const RELEASED_PAYLOAD = Buffer.alloc(0)

/** The connection of a queue, as far as the queue needs it. */
export interface QueueOwner { readonly client: { readonly id: string } }

interface HeldPublishOptions<C extends QueueOwner> {
  readonly queue: AcknowledgementQueue<C>
  readonly packet: PublishPacket
  readonly device: string | null
  readonly callback: Callback<C>
  /** A will is published after its client has left, and is not acknowledged. */
  readonly isWill: boolean
}

/** A publish between its arrival and its acknowledgement. Thousands exist at once, so it holds no closure. */
export class HeldPublish<C extends QueueOwner> implements VitalPublish {
  readonly packet: PublishPacket
  readonly device: string | null
  readonly callback: Callback<C>
  readonly isWill: boolean
  readonly bytes: number
  outcome: Outcome | null = null
  /** It was fanned out before its acknowledgement, which may have to wait for Redis. */
  isFannedOut = false
  isWaiting = false
  next: HeldPublish<C> | null = null
  readonly #queue: AcknowledgementQueue<C>

  constructor ({ queue, packet, device, callback, isWill }: HeldPublishOptions<C>) {
    this.#queue = queue
    this.packet = packet
    this.device = device
    this.callback = callback
    this.isWill = isWill
    this.bytes = packet.payload.length
  }

  get topic (): string {
    return this.packet.topic
  }

  get payload (): Buffer {
    return this.packet.payload as Buffer
  }

  get clientId (): string {
    return this.#queue.connection.client.id
  }

  settle (outcome: Outcome): void {
    this.#queue.settle(this, outcome)
  }
}

/** Takes publishes out of all queues. */
export interface Dequeue<C extends QueueOwner> {
  /**
   * Called for each publish in its turn once its outcome is known, before {@link Dequeue.dequeued}; `null`: no publish
   * needs it.
   * @returns what it waits for; rejects where nothing may be acknowledged
   */
  readonly prepare: ((connection: C, held: HeldPublish<C>, outcome: Outcome) => Promise<void> | null) | null
  /** Called for each publish in its turn; may add further ones. */
  dequeued (connection: C, held: HeldPublish<C>, outcome: Outcome): void
  /** Called once after all publishes that could be dequeued. */
  drained (connection: C): void
}

/**
 * The held publishes of one client. Verdicts come in any order, publishes leave in the order in which they came:
 * PUBACK and PUBREC must follow the order of their PUBLISH packets [MQTT-4.6.0-2] [MQTT-4.6.0-3].
 */
export class AcknowledgementQueue<C extends QueueOwner> {
  readonly #dequeue: Dequeue<C>
  /** Set by the connection's constructor. */
  connection!: C
  #head: HeldPublish<C> | null = null
  #tail: HeldPublish<C> | null = null
  /** The first that is not prepared. */
  #unprepared: HeldPublish<C> | null = null
  #draining = false
  #size = 0
  #bytes = 0

  constructor (dequeue: Dequeue<C>) {
    this.#dequeue = dequeue
  }

  get size (): number {
    return this.#size
  }

  /** Bytes of the payloads. */
  get bytes (): number {
    return this.#bytes
  }

  /** Adds a publish at the end. */
  add (packet: PublishPacket, device: string | null, callback: Callback<C>, isWill: boolean): HeldPublish<C> {
    const held = new HeldPublish({ queue: this, packet, device, callback, isWill })
    if (this.#tail === null) this.#head = held
    else this.#tail.next = held
    this.#tail = held
    this.#unprepared ??= held
    this.#size++
    this.#bytes += held.bytes
    return held
  }

  /** Notes the outcome of one publish, and dequeues all settled ones before the first that is not. */
  settle (held: HeldPublish<C>, outcome: Outcome): void {
    held.outcome = outcome
    if (!this.#draining) this.#drain()
  }

  #drain (): void {
    this.#draining = true
    try {
      this.#prepare()
      for (let head = this.#head; head !== null && head.outcome !== null && !head.isWaiting; head = this.#head) {
        if (head === this.#unprepared) this.#unprepared = head.next
        this.#head = head.next
        // A publish that V8 has moved to its old generation would keep the next one, and so all that follow, until a
        // major collection.
        head.next = null
        if (this.#head === null) this.#tail = null
        this.#size--
        this.#bytes -= head.bytes
        this.#dequeue.dequeued(this.connection, head, head.outcome)
      }
    } finally {
      this.#draining = false
    }
    this.#dequeue.drained(this.connection)
  }

  #prepare (): void {
    const { prepare } = this.#dequeue
    if (prepare === null) return
    for (let held = this.#unprepared; held !== null && held.outcome !== null; held = held.next) {
      this.#unprepared = held.next
      this.#waitFor(held, prepare(this.connection, held, held.outcome))
    }
  }

  #waitFor (held: HeldPublish<C>, ready: Promise<void> | null): void {
    if (ready === null) return
    held.isWaiting = true
    const proceed = () => {
      held.isWaiting = false
      if (!this.#draining && held === this.#head) this.#drain()
    }
    ready.then(proceed, () => {
      held.outcome = { status: 'unavailable', reason: 'failed' }
      proceed()
    })
  }
}
