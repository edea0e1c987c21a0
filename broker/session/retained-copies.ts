import { isExpired, type Message, type QoS } from './delivery.ts'

/** A retained message, as the broker keeps it. */
export type RetainedCopy = Message & { readonly qos: QoS }

/** The same on its way to one subscription. */
export type DueCopy = RetainedCopy & { readonly identifiers: readonly number[] }

/** Retained messages, as far as copies of them are made. */
export interface RetainedSource {
  has (topic: string): boolean
  /** Read as they are asked for. */
  matching (filters: readonly string[]): Iterator<RetainedCopy>
}

/** Retained messages that a new subscription is still to be sent. */
interface Walk {
  readonly qos: QoS
  readonly identifiers: readonly number[]
  readonly copies: Iterator<RetainedCopy>
}

/**
 * Copies of retained messages that new subscriptions of one session are still to be sent. They are read one by one: a
 * subscription may match 100,000. A topic whose live message came first gets no copy, because it would be older.
 */
export class RetainedCopies {
  readonly #source: RetainedSource
  readonly #walks = new Map<string, Walk>()
  /** A copy that was read and not taken. */
  #copy: DueCopy | null = null
  /** Topics whose live message came before their copy. */
  #overtaken: Set<string> | null = null

  constructor (source: RetainedSource) {
    this.#source = source
  }

  add (filter: string, qos: QoS, identifiers: readonly number[]): void {
    // A walk that has begun for the same filter starts again.
    this.#walks.delete(filter)
    this.#walks.set(filter, { qos, identifiers, copies: this.#source.matching([filter]) })
  }

  /** A live message on `topic` is on its way. */
  noteLive (topic: string): void {
    if (this.#source.has(topic)) (this.#overtaken ??= new Set()).add(topic)
  }

  /** The next copy at its granted QoS, until it is taken; `null` when there is none. */
  peek (): DueCopy | null {
    if (this.#copy !== null && this.#overtaken?.has(this.#copy.topic) !== true) return this.#copy
    this.#copy = null
    for (const [filter, { qos, identifiers, copies }] of this.#walks) {
      for (let step = copies.next(); step.done !== true; step = copies.next()) {
        const { topic, payload, properties, qos: publishedQoS } = step.value
        if (this.#overtaken?.has(topic) === true || isExpired(step.value)) continue
        this.#copy = { topic, payload, properties, qos: Math.min(qos, publishedQoS) as QoS, identifiers }
        return this.#copy
      }
      this.#walks.delete(filter)
    }
    return null
  }

  take (): void {
    this.#copy = null
  }
}
