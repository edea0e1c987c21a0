import type { PublishPacket } from 'aedes'
import type { Verdict } from './ingest.ts'

/** What became of a held publish; `relayed` never went to ingest and only waited for its turn. */
export type Outcome = Verdict | 'relayed'

/** A publish between its arrival and its acknowledgement. */
export interface HeldPublish {
  readonly packet: PublishPacket
  /** Aedes' callback: acknowledges, then fans out. */
  readonly callback: (error?: Error | null) => void
  /** A will comes when its client has gone; nobody waits for its acknowledgement. */
  readonly isWill: boolean
  readonly bytes: number
  outcome: Outcome | null
  next: HeldPublish | null
}

/**
 * The held publishes of one client. Verdicts come in any order, publishes leave in the order in which they came:
 * PUBACK and PUBREC must follow the order of their PUBLISH packets [MQTT-4.6.0-2] [MQTT-4.6.0-3].
 */
export class AcknowledgementQueue {
  readonly #leave: (held: HeldPublish, outcome: Outcome) => void
  #head: HeldPublish | null = null
  #tail: HeldPublish | null = null
  #draining = false
  #size = 0
  #bytes = 0

  /** @param leave - called for each publish in its turn; may hold further ones */
  constructor (leave: (held: HeldPublish, outcome: Outcome) => void) {
    this.#leave = leave
  }

  get size (): number {
    return this.#size
  }

  /** Bytes of the payloads. */
  get bytes (): number {
    return this.#bytes
  }

  /** Puts a publish at the end. */
  hold (packet: PublishPacket, callback: HeldPublish['callback'], isWill: boolean): HeldPublish {
    const held: HeldPublish = { packet, callback, isWill, bytes: packet.payload.length, outcome: null, next: null }
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
        if (this.#head === null) this.#tail = null
        this.#size--
        this.#bytes -= head.bytes
        this.#leave(head, head.outcome)
      }
    } finally {
      this.#draining = false
    }
  }
}
