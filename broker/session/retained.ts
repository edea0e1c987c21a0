import type { AedesPublishPacket } from 'aedes'
import type { BrokerLimits } from '../limits.ts'
import { type MessageProperties, ownCopy, ownProperties } from './delivery.ts'
import type { RetainedCopy } from './retained-copies.ts'
import { toExtension } from '../publish/published-packet.ts'
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
  readonly #onChanged: (topic: string, isExpired: boolean) => void
  readonly #tree = new TopicTree<RetainedMessage>()
  /** Expiry times by topic, for messages that expire; by `performance.now()`. */
  readonly #expiring = new Map<string, number>()
  count = 0
  bytes = 0
  refused = 0

  /** @param options.onChanged - called when the message of a topic was replaced or removed */
  constructor ({ limits, onRefused, onChanged = () => {} }: {
    limits: Pick<BrokerLimits, 'retainedMessagesMax' | 'retainedBytesMax'>
    onRefused: () => void
    onChanged?: (topic: string, isExpired: boolean) => void
  }) {
    this.#limits = limits
    this.#onRefused = onRefused
    this.#onChanged = onChanged
  }

  /** Whether {@link RetainedMessages.store} would keep a packet, or clears its topic. */
  admits (packet: { readonly topic: string, readonly payload: Buffer | string }): boolean {
    const { topic, payload } = packet
    if (payload.length === 0) return true
    const previous = this.#tree.get(topic)
    const added = toBytes(topic, payload, toExtension(packet).properties ?? null) - (previous?.bytes ?? 0)
    return this.#hasRoom(topic, previous, added)
  }

  /** Keeps `packet`, or clears its topic when the payload is empty. Beyond the bounds the topic keeps what it had. */
  store (packet: AedesPublishPacket): void {
    const { topic, payload, qos } = packet
    if (payload.length === 0) {
      this.clear(topic)
      return
    }
    const properties = ownProperties(toExtension(packet).properties)
    if (this.put({ topic, payload: ownCopy(payload), properties, qos })) this.#onChanged(topic, false)
  }

  /**
   * Keeps a message that another gateway keeps too.
   * @returns false beyond the bounds
   */
  put (copy: RetainedCopy): boolean {
    const { topic, payload, properties } = copy
    const previous = this.#tree.get(topic)
    const added = toBytes(topic, payload, properties) - (previous?.bytes ?? 0)
    if (!this.#hasRoom(topic, previous, added)) {
      this.refused++
      this.#onRefused()
      return false
    }
    if (previous === undefined) this.count++
    this.bytes += added
    const bytes = (previous?.bytes ?? 0) + added
    if (properties === null || properties.expiresAtMs === Infinity) this.#expiring.delete(topic)
    else this.#expiring.set(topic, properties.expiresAtMs)
    this.#tree.set(topic, { copy, bytes })
    return true
  }

  /** The gateway's own messages always have room. */
  #hasRoom (topic: string, previous: RetainedMessage | undefined, added: number): boolean {
    if (topic.startsWith(RESERVED_PREFIX)) return true
    return (previous !== undefined || this.count < this.#limits.retainedMessagesMax) &&
      (added <= 0 || this.bytes + added <= this.#limits.retainedBytesMax)
  }

  /** Forgets the messages whose Message Expiry Interval has passed [MQTT-3.3.2-5]. */
  expire (): void {
    const nowMs = performance.now()
    for (const [topic, expiresAtMs] of this.#expiring) {
      if (expiresAtMs <= nowMs && this.remove(topic)) this.#onChanged(topic, true)
    }
  }

  /** @returns whether there was one */
  clear (topic: string): boolean {
    const was = this.remove(topic)
    // Also where there was none: another gateway may just have got one.
    this.#onChanged(topic, false)
    return was
  }

  get (topic: string): RetainedCopy | null {
    return this.#tree.get(topic)?.copy ?? null
  }

  /** Forgets a message that another gateway has forgotten. @returns whether there was one */
  remove (topic: string): boolean {
    const previous = this.#tree.get(topic)
    if (previous === undefined) return false
    this.#tree.delete(topic)
    this.#expiring.delete(topic)
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

function toBytes (topic: string, payload: Buffer | string, properties: MessageProperties | null): number {
  return payload.length + (properties?.forwarded?.length ?? 0) + topic.length * 2 + topic.split('/').length * LEVEL_BYTES
}
