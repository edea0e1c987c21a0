import type { AedesPublishPacket } from 'aedes'
import type { BrokerLimits } from '../limits.ts'
import { ownCopy } from './delivery.ts'
import type { RetainedCopy } from './retained-copies.ts'
import { RESERVED_PREFIX } from '../topics.ts'
import { TopicTree } from './topic-tree.ts'

/** A tree node, its map entry and a packet object; an estimate that errs upwards. */
const LEVEL_BYTES = 200

interface RetainedMessage {
  readonly copy: RetainedCopy
  readonly bytes: number
}

/** The retained message of each topic, bounded in messages and bytes. */
export class RetainedMessages {
  readonly #limits: Pick<BrokerLimits, 'retainedMessagesMax' | 'retainedBytesMax'>
  readonly #onRefused: () => void
  readonly #tree = new TopicTree<RetainedMessage>()
  count = 0
  bytes = 0
  refused = 0

  constructor ({ limits, onRefused }: {
    limits: Pick<BrokerLimits, 'retainedMessagesMax' | 'retainedBytesMax'>
    onRefused: () => void
  }) {
    this.#limits = limits
    this.#onRefused = onRefused
  }

  /** Keeps `packet`, or clears its topic when the payload is empty. Beyond the bounds the topic keeps what it had. */
  store ({ topic, payload, qos }: AedesPublishPacket): void {
    const previous = this.#tree.get(topic)
    if (payload.length === 0) {
      this.clear(topic)
      return
    }
    const added = payload.length + topic.length * 2 + topic.split('/').length * LEVEL_BYTES - (previous?.bytes ?? 0)
    const own = topic.startsWith(RESERVED_PREFIX)
    if (!own && ((previous === undefined && this.count >= this.#limits.retainedMessagesMax) ||
      (added > 0 && this.bytes + added > this.#limits.retainedBytesMax))) {
      this.refused++
      this.#onRefused()
      return
    }
    if (previous === undefined) this.count++
    this.bytes += added
    const bytes = (previous?.bytes ?? 0) + added
    this.#tree.set(topic, { copy: { topic, payload: ownCopy(payload), qos }, bytes })
  }

  /** @returns whether there was one */
  clear (topic: string): boolean {
    const previous = this.#tree.get(topic)
    if (previous === undefined) return false
    this.#tree.delete(topic)
    this.count--
    this.bytes -= previous.bytes
    return true
  }

  has (topic: string): boolean {
    return this.#tree.get(topic) !== undefined
  }

  /** Retained messages that match any of `filters`, one for each filter that it matches, read as they are asked for. */
  * matching (filters: readonly string[]): Generator<RetainedCopy> {
    for (const filter of filters) {
      for (const { copy } of this.#tree.matchFilter(filter)) yield copy
    }
  }
}
