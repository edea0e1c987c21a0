import type { PublishPacket } from 'aedes'
import type { Connection } from '../connections.ts'
import type { Verdict, VitalPublish } from '../ingest.ts'

/** What became of a held publish; `relayed` never went to ingest and only waited for its turn. */
export type Outcome = Verdict | 'relayed'

/** Acknowledges and fans out; an error closes the client instead. */
export type Callback = (error: Error | null, packet: PublishPacket, connection: Connection) => void

/**
 * In the place of a payload that nobody listened for when it came: while it is held it would keep the chunk that it came in. Whoever
 * subscribes later gets what comes later.
 */
export const RELEASED = Buffer.alloc(0)

interface HeldPublishOptions {
  readonly queue: AcknowledgementQueue
  readonly packet: PublishPacket
  readonly device: string | null
  readonly callback: Callback
  /** A will comes when its client has gone; nobody waits for its acknowledgement. */
  readonly isWill: boolean
}

/** A publish between its arrival and its acknowledgement. Thousands lie about, so it has no closure of its own. */
export class HeldPublish implements VitalPublish {
  readonly packet: PublishPacket
  readonly device: string | null
  readonly callback: Callback
  readonly isWill: boolean
  readonly bytes: number
  outcome: Outcome | null = null
  next: HeldPublish | null = null
  readonly #queue: AcknowledgementQueue

  constructor ({ queue, packet, device, callback, isWill }: HeldPublishOptions) {
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

/** Lets publishes leave; one for all queues. */
export interface Exit {
  /** Called for each publish in its turn; may hold further ones. */
  leave (connection: Connection, held: HeldPublish, outcome: Outcome): void
  /** Called once those have left that could. */
  relieve (connection: Connection): void
}

/**
 * The held publishes of one client. Verdicts come in any order, publishes leave in the order in which they came:
 * PUBACK and PUBREC must follow the order of their PUBLISH packets [MQTT-4.6.0-2] [MQTT-4.6.0-3].
 */
export class AcknowledgementQueue {
  readonly #exit: Exit
  /** Set once there is one. */
  connection!: Connection
  #head: HeldPublish | null = null
  #tail: HeldPublish | null = null
  #draining = false
  #size = 0
  #bytes = 0

  constructor (exit: Exit) {
    this.#exit = exit
  }

  get size (): number {
    return this.#size
  }

  /** Bytes of the payloads. */
  get bytes (): number {
    return this.#bytes
  }

  /** Puts a publish at the end. */
  hold (packet: PublishPacket, device: string | null, callback: Callback, isWill: boolean): HeldPublish {
    const held = new HeldPublish({ queue: this, packet, device, callback, isWill })
    if (this.#tail === null) this.#head = held
    else this.#tail.next = held
    this.#tail = held
    this.#size++
    this.#bytes += held.bytes
    return held
  }

  /** Notes the outcome of one publish and lets all leave that wait for none before them. */
  settle (held: HeldPublish, outcome: Outcome): void {
    held.outcome = outcome
    if (this.#draining) return
    this.#draining = true
    try {
      for (let head = this.#head; head !== null && head.outcome !== null; head = this.#head) {
        this.#head = head.next
        // One that V8 has moved to its old generation would keep the next one until the next major collection, and that one the next.
        head.next = null
        if (this.#head === null) this.#tail = null
        this.#size--
        this.#bytes -= head.bytes
        this.#exit.leave(this.connection, head, head.outcome)
      }
    } finally {
      this.#draining = false
    }
    this.#exit.relieve(this.connection)
  }
}
