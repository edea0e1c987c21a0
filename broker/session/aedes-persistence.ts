import { Readable } from 'node:stream'
import type { AedesPublishPacket, Client } from 'aedes'
import type { RetainedMessages } from './retained.ts'
import type { Session } from './session.ts'
import type { Sessions } from './sessions.ts'
import { syncDone, syncRejected, syncResolved } from './sync-thenable.ts'

interface Identified { readonly id: string }
interface AcknowledgePacket { readonly cmd: string, readonly messageId: number }

interface PersistenceOptions {
  readonly retained: RetainedMessages
  readonly sessions: Sessions
  /** The session of a connected client. */
  readonly sessionOf: (client: Client) => Session | null
  /** Settles once the noted changes of sessions survive the end of this process; `null`: they do, or never will. */
  readonly whenCopied: () => PromiseLike<void> | null
}

const NOTHING: PromiseLike<readonly never[]> = syncResolved([])

/**
 * Implements Aedes' persistence over {@link Sessions} and {@link RetainedMessages}, in bounded memory. Calls of the
 * publish path answer at once (sync-thenable.ts).
 *
 * Aedes' own memory persistence is not used: nothing in it is bounded, it keeps the payloads of half-open QoS 2
 * publishes, scans all retained messages for each filter, shows retained `$SYS` messages to `#`, and queues at the
 * publisher's QoS where a lower one was granted.
 */
export function createPersistence ({ retained, sessions, sessionOf, whenCopied }: PersistenceOptions) {
  return {
    async setup (): Promise<void> {},
    async destroy (): Promise<void> {},

    storeRetained (packet: AedesPublishPacket): PromiseLike<void> {
      retained.store(packet)
      return syncDone
    },
    /** Sessions are sent retained messages by `createSubscriptionGuard`. */
    createRetainedStreamCombi (): Readable {
      return Readable.from([])
    },

    /** Aedes passes the whole SUBSCRIBE, refused filters included. `createSubscriptionGuard` stores what it grants. */
    async addSubscriptions (): Promise<void> {},
    async removeSubscriptions ({ id }: Identified, filters: readonly string[]): Promise<void> {
      sessions.unsubscribe(id, filters)
    },
    async subscriptionsByClient ({ id }: Identified): Promise<Array<{ topic: string, qos: number }>> {
      return sessions.subscriptionsOf(id)
    },
    /** For a client that connects with a clean session: its earlier session is discarded [MQTT-3.1.2-6]. */
    async cleanSubscriptions ({ id }: Identified): Promise<void> {
      sessions.end(id)
    },
    /**
     * Nothing is queued here: the emitter passes each message to the sessions that subscribe to it
     * (deliver/emitter.ts).
     */
    subscriptionsByTopic (): PromiseLike<readonly never[]> {
      return NOTHING
    },
    outgoingEnqueueCombi (): PromiseLike<void> {
      return syncDone
    },
    outgoingStream (): Iterable<never> {
      return []
    },
    /** Called for PUBREC alone, before Aedes sends PUBREL, and not for a clean session. */
    outgoingUpdate (client: Client, { messageId }: AcknowledgePacket): PromiseLike<void> {
      sessionOf(client)?.receive(messageId)
      return whenCopied() ?? syncDone
    },
    /** For PUBACK and PUBCOMP. */
    outgoingClearMessageId (client: Client, { cmd, messageId }: AcknowledgePacket): PromiseLike<void> {
      const session = sessionOf(client)
      if (cmd === 'puback') session?.acknowledge(messageId)
      else session?.complete(messageId)
      return syncDone
    },

    /**
     * Rejects for a message that is new, as Aedes wants it, and notes its packet id in the same turn: between this
     * call and `incomingStorePacket` a duplicate would pass as new too, and reach subscribers twice.
     *
     * All three settle in the same turn: with promises the PUBREC of a known message overtook that of a new one before
     * it [MQTT-4.6.0-3].
     */
    incomingGetPacket ({ id }: Identified, packet: AcknowledgePacket): PromiseLike<AcknowledgePacket> {
      if (sessions.hasInbound(id, packet.messageId)) return syncResolved(packet)
      if (packet.cmd === 'publish') sessions.addInbound(id, packet.messageId)
      return syncRejected(new Error('not received before'))
    },
    incomingStorePacket ({ id }: Identified, { messageId }: AcknowledgePacket): PromiseLike<void> {
      return sessions.hasInbound(id, messageId) ? syncDone : syncRejected(new Error('too many QoS 2 messages await PUBREL'))
    },
    incomingDelPacket ({ id }: Identified, { messageId }: AcknowledgePacket): PromiseLike<void> {
      if (!sessions.removeInbound(id, messageId)) return syncRejected(new Error('not received before'))
      return whenCopied() ?? syncDone
    },
    async cleanIncoming ({ id }: Identified): Promise<void> {
      sessions.releaseInbound(id)
    },

    /** A will is kept by Aedes' client; a copy would serve other brokers of a cluster. */
    async putWill (): Promise<void> {},
    async delWill (): Promise<void> {},
    streamWill (): Readable {
      return Readable.from([])
    }
  }
}
