import type { BrokerLimits } from '../limits.ts'
import { type DeliveryOptions, type Message, toDeliveryBytes } from './delivery.ts'

type QueueLimits = Pick<BrokerLimits, 'queuedMessagesPerSessionMax' | 'queuedBytesPerSessionMax'>

/** Identifies a message across gateways: each gateway numbers the messages that are published there. */
export interface Passage {
  /** The gateway that it was published at. */
  readonly origin: string
  readonly number: number
}

/** The passage of the message that is being routed; it changes with each message. */
export interface CurrentPassage extends Passage {
  /** Counts messages that sessions have set aside, which are in the memory of this gateway alone. */
  setAside: number
}

interface Held {
  readonly message: Message
  readonly qos: 1 | 2
  readonly options: DeliveryOptions
  readonly passage: Passage
}

/**
 * Messages that are published for a session while its earlier deliveries are still on their way from another gateway.
 * Bounded as its queue is.
 */
export class HeldDeliveries {
  readonly passage: CurrentPassage
  readonly #limits: QueueLimits
  readonly #held: Held[] = []
  #bytes = 0

  constructor (passage: CurrentPassage, limits: QueueLimits) {
    this.passage = passage
    this.#limits = limits
  }

  /** @returns false when the bounds leave no room */
  add (message: Message, qos: 1 | 2, options: DeliveryOptions): boolean {
    const { queuedMessagesPerSessionMax, queuedBytesPerSessionMax } = this.#limits
    if (this.#held.length >= queuedMessagesPerSessionMax || this.#bytes >= queuedBytesPerSessionMax) return false
    this.passage.setAside++
    const { origin, number } = this.passage
    this.#held.push({ message, qos, options, passage: { origin, number } })
    this.#bytes += toDeliveryBytes(message)
    return true
  }

  /** Messages that the other gateway has not delivered. @param isNew - whether that is true of a message */
  later (isNew: (passage: Passage) => boolean): Held[] {
    return this.#held.filter(({ passage }) => isNew(passage))
  }
}
