import type { Logger } from 'pino'
import { maySubscribe } from '../connect/authorisation.ts'
import type { Connection } from '../connection.ts'
import type { Cluster } from '../cluster.ts'
import type { Connections } from '../connections.ts'
import type { LimitHits } from '../limit-hits.ts'
import type { BrokerLimits } from '../limits.ts'
import type { RetainedMessages } from '../session/retained.ts'
import { type Subscription } from '../session/delivery.ts'
import { DeliveryMemory } from '../session/delivery-memory.ts'
import { Session } from '../session/session.ts'
import { type SessionObserver, Sessions } from '../session/sessions.ts'
import { createEmitter } from './emitter.ts'
import { ConnectionLink } from './link.ts'
import { Mqtt5Link } from './mqtt5-link.ts'
import { Mqtt5Client } from '../mqtt5/mqtt5-client.ts'
import { LiveFilters } from './live-filters.ts'
import { createWritableGuard } from './writable.ts'

interface DelivererOptions {
  readonly connections: Connections
  readonly retained: RetainedMessages
  readonly hits: LimitHits
  readonly limits: BrokerLimits
  readonly logger: Logger
  readonly sessionObserver: SessionObserver
  /** `null`: this gateway stands alone. */
  readonly cluster: Cluster | null
}

/** Delivery to subscribers: sessions, what they subscribe to, and the connections that reach them. */
export function createDeliverer (options: DelivererOptions) {
  const { connections, retained, hits, limits, logger, sessionObserver, cluster } = options
  const memory = new DeliveryMemory(limits.queuedBytesMax)
  const filters = new LiveFilters(cluster?.wants)
  const writable = createWritableGuard({ logger })
  const state = { dropped: 0 }
  const sessionOptions = {
    limits,
    hits,
    memory,
    retained,
    journal: cluster?.journal ?? null,
    whenCopied: cluster?.whenCopied ?? null,
    onUnread () {
      state.dropped++
      hits.hit('subscriber_buffer')
    }
  }
  const sessions = new Sessions({
    limits, hits, filters, createSession: (clientId) => new Session(sessionOptions, clientId, false), observer: sessionObserver
  })

  const onTooLarge = () => { hits.hit('delivery_bytes') }

  function link (connection: Connection, session: Session): void {
    const { principal } = connection.access
    if (principal === undefined) return
    const link = connection.client instanceof Mqtt5Client
      ? new Mqtt5Link({
        connection, client: connection.client, session, windowMax: limits.inFlightMessagesPerSessionMax, onTooLarge
      })
      : new ConnectionLink(connection, session, limits.inFlightMessagesPerSessionMax)
    connection.subscriber.setLink(link)
    session.attach(link, (topic) => maySubscribe(principal, topic))
  }

  /** The session of a new subscription. */
  function subscribedSession ({ client, subscriber }: Connection, filter: string, subscription: Subscription): Session {
    if (!client.clean) return sessions.subscribe(client.id, filter, subscription)
    const session = subscriber.session ?? new Session(sessionOptions, client.id, true)
    filters.add(filter, session, subscription)
    return session
  }

  return {
    sessions,
    /** For Aedes. */
    emitter: createEmitter(filters, writable, cluster),
    /** Whether a subscription may match `vital/{device}`; true may be wrong, false never is. */
    isWatched: cluster === null
      ? (topic: string) => filters.isWatched(topic)
      : (topic: string) => filters.isWatched(topic) || cluster.isWatched(topic),

    /** A connection has its CONNACK: the deliveries of its session follow. */
    open (connection: Connection): void {
      const { subscriber, access, client } = connection
      const session = subscriber.session ?? (access.isAttached ? sessions.find(client.id) : null)
      if (session === null) return
      subscriber.bind(session)
      link(connection, session)
    },

    /** A connection has closed. */
    close ({ subscriber, client }: Connection): void {
      const { session, link } = subscriber
      subscriber.unbind()
      if (session === null) return
      if (client.clean) {
        filters.removeAll(session)
        session.clear()
      }
      if (link !== null) session.detach(link)
    },

    /** Adds a subscription to the session of a connection. */
    subscribe (connection: Connection, filter: string, subscription: Subscription): void {
      const { subscriber } = connection
      const isNew = subscriber.session === null
      const session = subscribedSession(connection, filter, subscription)
      subscriber.bind(session)
      if (isNew && connection.isConnected) link(connection, session)
    },

    /** Ends subscriptions of a clean session; others end at the persistence. */
    unsubscribe ({ subscriber: { session }, client }: Connection, unsubscribed: readonly string[]): void {
      if (session === null || !client.clean) return
      for (const filter of unsubscribed) filters.remove(filter, session)
    },

    /** Drops deliveries that are not sent yet, by topic. @returns how many */
    drop (isMeant: (topic: string) => boolean): number {
      let dropped = sessions.drop(isMeant)
      for (const { subscriber: { session }, client } of connections.open) {
        if (session !== null && client.clean) dropped += session.drop(isMeant)
      }
      return dropped
    },

    /** Shared subscriptions. */
    get shares (): number {
      return filters.shares
    },
    memory: memory as Readonly<Pick<DeliveryMemory, 'messages' | 'bytes'>>,
    /** Deliveries whose message cannot be encoded. */
    get unwritable (): number {
      return writable.dropped
    },
    /** Deliveries that were dropped because their subscriber does not read. */
    get dropped (): number {
      return state.dropped
    }
  }
}

export type Deliverer = ReturnType<typeof createDeliverer>
