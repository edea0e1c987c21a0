import { Readable } from 'node:stream'
import type { AedesPublishPacket, Client } from 'aedes'
import type { RetainedMessages } from './retained.ts'
import type { Session } from './session.ts'
import type { Sessions } from './sessions.ts'
import { refused, SETTLED, settled } from './sync-thenable.ts'

interface Identified { readonly id: string }
interface AcknowledgePacket { readonly cmd: string, readonly messageId: number }

interface PersistenceOptions {
  readonly retained: RetainedMessages
  readonly sessions: Sessions
  /** The session of a client that is connected. */
  readonly sessionOf: (client: Client) => Session | null
}

const NOTHING: PromiseLike<readonly never[]> = settled([])

/**
 * What Aedes asks of a persistence, in bounded memory. Calls of the publish path answer at once ({@link settled}).
 *
 * Aedes' own memory persistence is not used: nothing in it is bounded, it keeps the payloads of half-open QoS 2
 * publishes, scans all retained messages for each filter, shows retained `$SYS` messages to `#`, and queues at the
 * publisher's QoS where a lower one was granted.
 */
export function createPersistence ({ retained, sessions, sessionOf }: PersistenceOptions) {
  return {
    async setup (): Promise<void> {},
    async destroy (): Promise<void> {},

    storeRetained (packet: AedesPublishPacket): PromiseLike<void> {
      retained.store(packet)
      return SETTLED
    },
    /** Sessions are sent retained messages by `createSubscriptionGuard`. */
    createRetainedStreamCombi (): Readable {
      return Readable.from([])
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
    /** Nothing is queued here: the emitter hands each message to the sessions that it is for (deliver/router.ts). */
    subscriptionsByTopic (): PromiseLike<readonly never[]> {
      return NOTHING
    },
    outgoingEnqueueCombi (): PromiseLike<void> {
      return SETTLED
    },
    outgoingStream (): Iterable<never> {
      return []
    },
    /** Aedes calls it for PUBREC alone, and sends PUBREL then. Of a clean session it does not tell. */
    outgoingUpdate (client: Client, { messageId }: AcknowledgePacket): PromiseLike<void> {
      sessionOf(client)?.receive(messageId)
      return SETTLED
    },
    /** For PUBACK and PUBCOMP. */
    outgoingClearMessageId (client: Client, { cmd, messageId }: AcknowledgePacket): PromiseLike<void> {
      const session = sessionOf(client)
      if (cmd === 'puback') session?.acknowledge(messageId)
      else session?.complete(messageId)
      return SETTLED
    },

    /**
     * Rejects for a message that is new, as Aedes wants it, and notes its packet id in the same breath: between this
     * call and `incomingStorePacket` a duplicate would pass as new too, and subscribers of QoS 2 get it twice.
     *
     * All three answer at once: with promises the PUBREC of a known message overtook that of a new one before it
     * [MQTT-4.6.0-3].
     */
    incomingGetPacket ({ id }: Identified, packet: AcknowledgePacket): PromiseLike<AcknowledgePacket> {
      if (sessions.hasInbound(id, packet.messageId)) return settled(packet)
      if (packet.cmd === 'publish') sessions.addInbound(id, packet.messageId)
      return refused(new Error('not received before'))
    },
    incomingStorePacket ({ id }: Identified, { messageId }: AcknowledgePacket): PromiseLike<void> {
      return sessions.hasInbound(id, messageId) ? SETTLED : refused(new Error('too many QoS 2 messages await PUBREL'))
    },
    incomingDelPacket ({ id }: Identified, { messageId }: AcknowledgePacket): PromiseLike<void> {
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
