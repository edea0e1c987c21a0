import type { Logger } from 'pino'
import { maySubscribe } from '../connect/authorisation.ts'
import type { Connection, Connections } from '../connections.ts'
import type { LimitHits } from '../limit-hits.ts'
import type { BrokerLimits } from '../limits.ts'
import type { RetainedMessages } from '../session/retained.ts'
import type { QoS } from '../session/delivery.ts'
import { Session, type Totals } from '../session/session.ts'
import { Sessions } from '../session/sessions.ts'
import { createEmitter } from './emitter.ts'
import { ConnectionLink } from './link.ts'
import { LiveFilters } from './live-filters.ts'
import { createWritableGuard } from './writable.ts'

interface DelivererOptions {
  readonly connections: Connections
  readonly retained: RetainedMessages
  readonly hits: LimitHits
  readonly limits: BrokerLimits
  readonly logger: Logger
}

/** Delivery to subscribers: sessions, what they subscribe to, and the connections that reach them. */
export function createDeliverer ({ connections, retained, hits, limits, logger }: DelivererOptions) {
  const totals: Totals = { messages: 0, bytes: 0, dropped: 0 }
  const filters = new LiveFilters()
  const writable = createWritableGuard({ logger })
  const state = { dropped: 0 }
  const sessionOptions = {
    limits,
    hits,
    totals,
    retained,
    onUnread () {
      state.dropped++
      hits.hit('subscriber_buffer')
    }
  }
  const sessions = new Sessions({ limits, hits, filters, createSession: () => new Session(sessionOptions, false) })

  function link (connection: Connection, session: Session): void {
    const { principal } = connection
    if (principal === undefined) return
    connection.link = new ConnectionLink(connection, session, limits.inFlightMessagesPerSessionMax)
    session.attach(connection.link, (topic) => maySubscribe(principal, topic))
  }

  return {
    sessions,
    /** For Aedes. */
    emitter: createEmitter(filters, writable),
    /** Whether what is published on `vital/{device}` may be for anybody; true may be wrong, false never is. */
    isWatched: (topic: string) => filters.isWatched(topic),

    /** A connection has its CONNACK: what its session is owed follows. */
    open (connection: Connection): void {
      if (connection.attached) connection.session ??= sessions.find(connection.client.id)
      if (connection.session !== null) link(connection, connection.session)
    },

    /** It has closed. */
    close (connection: Connection): void {
      const { session, client } = connection
      connection.session = null
      if (session === null) return
      if (client.clean) {
        filters.removeAll(session)
        session.clear()
      }
      if (connection.link !== null) session.detach(connection.link)
      connection.link = null
    },

    /** Adds a subscription to the session of a connection. */
    subscribe (connection: Connection, filter: string, qos: QoS): void {
      const isNew = connection.session === null
      if (connection.client.clean) {
        connection.session ??= new Session(sessionOptions, true)
        filters.add(filter, connection.session, qos)
      } else {
        connection.session = sessions.subscribe(connection.client.id, filter, qos)
      }
      if (isNew && connection.connected) link(connection, connection.session)
    },

    /** Ends subscriptions of a clean session; others end at the persistence. */
    unsubscribe ({ session, client }: Connection, unsubscribed: readonly string[]): void {
      if (session === null || !client.clean) return
      for (const filter of unsubscribed) filters.remove(filter, session)
    },

    /** Drops what is still to be delivered, by topic. @returns how many deliveries */
    drop (isMeant: (topic: string) => boolean): number {
      let dropped = sessions.drop(isMeant)
      for (const { session, client } of connections.open) {
        if (session !== null && client.clean) dropped += session.drop(isMeant)
      }
      return dropped
    },

    totals: totals as Readonly<Totals>,
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
