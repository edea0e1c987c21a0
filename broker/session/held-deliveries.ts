import type { BrokerLimits } from '../limits.ts'
import { type DeliveryOptions, type Message, toDeliveryBytes } from './delivery.ts'

type QueueLimits = Pick<BrokerLimits, 'queuedMessagesPerSessionMax' | 'queuedBytesPerSessionMax'>

/** Which message is being routed, across gateways: gateways number what they publish, so that it is known again. */
export interface Passage {
  /** The gateway that it was published at. */
  readonly origin: string
  readonly number: number
}

/** Of the message that is being routed, at any time. */
export interface CurrentPassage extends Passage {
  /** Counts what sessions have set aside: it is in the memory of this gateway alone. */
  setAside: number
}

interface Held {
  readonly message: Message
  readonly qos: 1 | 2
  readonly options: DeliveryOptions
  readonly passage: Passage
}

/**
 * What is published for a session while its earlier deliveries are still on their way from another gateway. Bounded as
 * its queue is.
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

  /** Those that came later than what the other gateway has delivered. @param isNew - whether it has not */
  later (isNew: (passage: Passage) => boolean): Held[] {
    return this.#held.filter(({ passage }) => isNew(passage))
  }
}
