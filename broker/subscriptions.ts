import type { Client, Subscription } from 'aedes'
import { maySubscribe } from './authorisation.ts'
import type { Connection, Connections, SubscribingClient } from './connections.ts'
import type { BrokerLimits } from './limits.ts'
import type { Sessions } from './sessions.ts'
import { isTopicFilter, levelsOf } from './topics.ts'

interface SubscriptionGuardOptions {
  readonly connections: Connections
  readonly sessions: Sessions
  readonly deniedFilters: readonly string[]
  readonly limits: Pick<BrokerLimits, 'filterLengthMax' | 'topicLevelsMax' | 'subscriptionsPerClientMax' | 'subscriptionsMax'>
}

/**
 * Aedes' `authorizeSubscribe`: grants a subscription or refuses it with 0x80, and stores what it grants in the client's
 * session.
 */
export function createSubscriptionGuard ({ connections, sessions, deniedFilters, limits }: SubscriptionGuardOptions) {
  const denied = new Set(deniedFilters)
  const state = { subscriptions: 0, refused: 0 }

  function isAllowed (filter: string): boolean {
    return filter.length <= limits.filterLengthMax && levelsOf(filter) <= limits.topicLevelsMax &&
      isTopicFilter(filter) && !denied.has(filter)
  }

  function hasRoom (connection: Connection, client: Client): boolean {
    return connection.subscriptions < limits.subscriptionsPerClientMax && state.subscriptions < limits.subscriptionsMax &&
      (client.clean || sessions.admits(client.id))
  }

  /** After Aedes changed them; it tells neither which were new nor which were known. */
  function recount (client: Client): void {
    const connection = connections.of(client)
    if (connection === undefined || client.closed) return
    const granted = Object.values((client as SubscribingClient).subscriptions)
    state.subscriptions += granted.length - connection.subscriptions
    connection.subscriptions = granted.length
    connection.qosMax = granted.reduce<0 | 1 | 2>((highest, { qos }) => qos > highest ? qos : highest, 0)
  }

  return {
    recount,
    authorizeSubscribe (
      client: Client, subscription: Subscription, callback: (error: Error | null, granted?: Subscription | null) => void
    ): void {
      const connection = connections.of(client)
      const { topic, qos } = subscription
      const isKnown = topic in (client as SubscribingClient).subscriptions
      if (connection?.principal === undefined || !maySubscribe(connection.principal, topic)) {
        state.refused++
        // A session that is resumed may hold it from a time when its principal had another role.
        sessions.unsubscribe(client.id, [topic])
        return callback(null, null)
      }
      if (!isAllowed(topic) || !(isKnown || hasRoom(connection, client))) {
        state.refused++
        return callback(null, null)
      }
      if (!isKnown) {
        connection.subscriptions++
        state.subscriptions++
      }
      if (qos > connection.qosMax) connection.qosMax = qos
      if (!client.clean) sessions.subscribe(client.id, topic, qos)
      callback(null, subscription)
    },
    /** The connection has closed. */
    forget (connection: Connection): void {
      state.subscriptions -= connection.subscriptions
      connection.subscriptions = 0
    },
    get subscriptions (): number {
      return state.subscriptions
    },
    get refused (): number {
      return state.refused
    }
  }
}
