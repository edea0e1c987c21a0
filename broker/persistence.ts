import { Readable } from 'node:stream'
import type { AedesPublishPacket } from 'aedes'
import type { RetainedMessages } from './retained.ts'
import type { Sessions, SessionSubscription } from './sessions.ts'
import { refused, SETTLED, settled } from './settled.ts'
import { isFannedOut } from './topics.ts'

interface Identified { readonly id: string }
type OutgoingPacket = Parameters<Sessions['updateQueued']>[1]
interface InboundPacket { readonly cmd: string, readonly messageId: number }

const NO_SUBSCRIPTIONS: PromiseLike<readonly SessionSubscription[]> = settled([])

/**
 * What Aedes asks of a persistence, in bounded memory. Calls of the publish path answer at once ({@link settled}).
 *
 * Aedes' own memory persistence is not used: nothing in it is bounded, it keeps the payloads of half-open QoS 2
 * publishes, scans all retained messages for each filter, shows retained `$SYS` messages to `#`, and queues at the
 * publisher's QoS where a lower one was granted.
 */
export function createPersistence ({ retained, sessions }: { retained: RetainedMessages, sessions: Sessions }) {
  return {
    async setup (): Promise<void> {},
    async destroy (): Promise<void> {},

    storeRetained (packet: AedesPublishPacket): PromiseLike<void> {
      retained.store(packet)
      return SETTLED
    },
    createRetainedStreamCombi (filters: readonly string[]): Readable {
      return Readable.from(retained.matching(filters))
    },

    /** Aedes hands over the whole SUBSCRIBE, refused filters included; see `createSubscriptionGuard`, which stores what it grants. */
    async addSubscriptions (): Promise<void> {},
    async removeSubscriptions ({ id }: Identified, filters: readonly string[]): Promise<void> {
      sessions.unsubscribe(id, filters)
    },
    async subscriptionsByClient ({ id }: Identified): Promise<Array<{ topic: string, qos: number }>> {
      return sessions.subscriptionsOf(id)
    },
    /** Of a client that connects with a clean session: all that an earlier session left is discarded [MQTT-3.1.2-6]. */
    async cleanSubscriptions ({ id }: Identified): Promise<void> {
      sessions.end(id)
    },
    subscriptionsByTopic (topic: string): PromiseLike<readonly SessionSubscription[]> {
      return sessions.subscribed === 0 || !isFannedOut(topic) ? NO_SUBSCRIPTIONS : settled(sessions.matching(topic))
    },

    outgoingEnqueueCombi (subscriptions: readonly SessionSubscription[], packet: AedesPublishPacket): PromiseLike<void> {
      sessions.enqueue(subscriptions, packet)
      return SETTLED
    },
    outgoingUpdate ({ id }: Identified, packet: OutgoingPacket): PromiseLike<void> {
      sessions.updateQueued(id, packet)
      return SETTLED
    },
    async outgoingClearMessageId ({ id }: Identified, packet: OutgoingPacket) {
      return sessions.removeQueued(id, packet)
    },
    /** Aedes gives it to a pipeline, which takes an array as well. */
    outgoingStream ({ id }: Identified): Iterable<OutgoingPacket> {
      return sessions.queued(id)
    },

    /**
     * Rejects for a message that is new, as Aedes wants it, and notes its packet id in the same breath: between this
     * call and `incomingStorePacket` a duplicate would pass as new too, and subscribers of QoS 2 get it twice.
     *
     * All three answer at once: with promises the PUBREC of a known message overtook that of a new one before it
     * [MQTT-4.6.0-3].
     */
    incomingGetPacket ({ id }: Identified, packet: InboundPacket): PromiseLike<InboundPacket> {
      if (sessions.hasInbound(id, packet.messageId)) return settled(packet)
      if (packet.cmd === 'publish') sessions.addInbound(id, packet.messageId)
      return refused(new Error('not received before'))
    },
    incomingStorePacket ({ id }: Identified, { messageId }: InboundPacket): PromiseLike<void> {
      return sessions.hasInbound(id, messageId) ? SETTLED : refused(new Error('too many QoS 2 messages await PUBREL'))
    },
    incomingDelPacket ({ id }: Identified, { messageId }: InboundPacket): PromiseLike<void> {
      return sessions.removeInbound(id, messageId) ? SETTLED : refused(new Error('not received before'))
    },
    async cleanIncoming ({ id }: Identified): Promise<void> {
      sessions.releaseInbound(id)
    },

    /** A will lives in its client's connection; a copy would only serve other brokers of a cluster. */
    async putWill (): Promise<void> {},
    async delWill (): Promise<void> {},
    streamWill (): Readable {
      return Readable.from([])
    }
  }
}
