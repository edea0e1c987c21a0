import { type Delivery, type DeliveryOptions, type Message, toDeliveryBytes } from './delivery.ts'
import type { Holder } from './delivery-memory.ts'
import type { SessionOptions } from './session-options.ts'

/** Begins and ends the deliveries of one session: counts them against the bounds, numbers them, and tells the journal. */
export class DeliveryAccount {
  readonly #options: SessionOptions
  readonly #clientId: string
  readonly #isClean: boolean
  readonly #holder: Holder
  #lastSeq = 0
  /** Of all deliveries. */
  bytes = 0

  constructor (options: SessionOptions, { clientId, isClean, holder }: { clientId: string, isClean: boolean, holder: Holder }) {
    this.#options = options
    this.#clientId = clientId
    this.#isClean = isClean
    this.#holder = holder
  }

  begin (message: Message, qos: 1 | 2, { isRetained, identifiers }: DeliveryOptions): Delivery {
    const bytes = toDeliveryBytes(message)
    this.count(1, bytes)
    const seq = ++this.#lastSeq
    const delivery: Delivery = { seq, message, qos, isRetained, identifiers, packetId: 0, isOutstanding: false, bytes }
    this.note(delivery)
    return delivery
  }

  /** A delivery that began elsewhere. */
  restore (delivery: Delivery): void {
    this.#lastSeq = Math.max(this.#lastSeq, delivery.seq)
    this.count(1, delivery.bytes)
    this.note(delivery)
  }

  /** A delivery has changed. */
  note (delivery: Delivery): void {
    if (!this.#isClean) this.#options.journal?.noted(this.#clientId, delivery)
  }

  end (delivery: Delivery): void {
    if (!this.#isClean) this.#options.journal?.removed(this.#clientId, delivery.seq)
    this.count(-1, -delivery.bytes)
  }

  /** It is sent again behind all others. */
  moveLast (delivery: Delivery): void {
    if (!this.#isClean) this.#options.journal?.removed(this.#clientId, delivery.seq)
    delivery.seq = ++this.#lastSeq
  }

  forgetMessage (delivery: Delivery): void {
    const bytes = toDeliveryBytes(null)
    this.count(0, bytes - delivery.bytes)
    delivery.message = null
    delivery.bytes = bytes
    this.note(delivery)
  }

  count (messages: number, bytes: number): void {
    const wasEmpty = this.bytes === 0
    this.bytes += bytes
    this.#options.memory.count(messages, bytes)
    if (wasEmpty !== (this.bytes === 0)) this.#options.memory.setHolding(this.#holder, wasEmpty)
  }

  /** Whether one more delivery may begin. @param queued - deliveries that wait already */
  hasRoom (bytes: number, queued: number): boolean {
    const { queuedMessagesPerSessionMax, queuedBytesPerSessionMax } = this.#options.limits
    return queued < queuedMessagesPerSessionMax && this.bytes < queuedBytesPerSessionMax &&
      this.#options.memory.makeRoom(this.#holder, bytes)
  }
}
