import type { Client, Subscription } from 'aedes'
import { maySubscribe } from '../connect/authorisation.ts'
import type { Connection, Connections, SubscribingClient } from '../connections.ts'
import type { Deliverer } from './deliverer.ts'
import type { LimitHits, LimitName } from '../limit-hits.ts'
import type { BrokerLimits } from '../limits.ts'
import type { Sessions } from '../session/sessions.ts'
import { isShared, levelsOf } from '../topics.ts'

/** Instead of a granted QoS, in SUBACK (MQTT 3.1.1 §3.9.3). */
const REFUSED: number = 0x80

interface SubscriptionGuardOptions {
  readonly connections: Connections
  readonly sessions: Sessions
  readonly deliverer: Pick<Deliverer, 'subscribe' | 'unsubscribe'>
  readonly deniedFilters: readonly string[]
  readonly hits: LimitHits
  readonly limits: Pick<BrokerLimits, 'filterLengthMax' | 'topicLevelsMax' | 'subscriptionsPerClientMax' | 'subscriptionsMax' | 'subscriptionLevelsMax'>
}

/**
 * Aedes' `authorizeSubscribe`: grants a subscription or refuses it with 0x80, and stores what it grants in the client's
 * session.
 */
export function createSubscriptionGuard ({ connections, sessions, deliverer, deniedFilters, hits, limits }: SubscriptionGuardOptions) {
  const denied = new Set(deniedFilters)
  const state = { subscriptions: 0, levels: 0, refused: 0 }

  const isLong = (filter: string) => filter.length > limits.filterLengthMax || levelsOf(filter) > limits.topicLevelsMax
  const isAllowed = (filter: string) => !isShared(filter) && !denied.has(filter)

  /** The limit that one more subscription would break; `null` when there is room. */
  function limitOn ({ client, subscriptions }: Connection, filter: string): LimitName | null {
    if (subscriptions >= limits.subscriptionsPerClientMax) return 'subscriptions_per_client'
    if (state.subscriptions >= limits.subscriptionsMax || state.levels + levelsOf(filter) > limits.subscriptionLevelsMax) return 'subscriptions'
    return client.clean ? null : sessions.limitOn(client.id, filter)
  }

  function refuse (limit: LimitName | null): null {
    state.refused++
    if (limit !== null) hits.hit(limit)
    return null
  }

  /** After Aedes changed them; it tells neither which were new nor which were known. */
  function recount (client: Client): void {
    const connection = connections.of(client)
    if (connection === undefined || client.closed) return
    const granted = Object.entries((client as SubscribingClient).subscriptions)
    forget(connection)
    connection.subscriptions = granted.length
    for (const [filter] of granted) connection.subscriptionLevels += levelsOf(filter)
    state.subscriptions += connection.subscriptions
    state.levels += connection.subscriptionLevels
  }

  function forget (connection: Connection): void {
    state.subscriptions -= connection.subscriptions
    state.levels -= connection.subscriptionLevels
    connection.subscriptions = 0
    connection.subscriptionLevels = 0
  }

  return {
    /** SUBACK is sent: retained messages follow [MQTT-3.3.1-6]. */
    subscribed (granted: readonly Subscription[], client: Client): void {
      recount(client)
      const session = client.closed ? null : connections.of(client)?.session ?? null
      for (const { topic, qos } of granted) {
        if (qos !== REFUSED) session?.sendRetained(topic, qos)
      }
    },
    unsubscribed (filters: readonly string[], client: Client): void {
      const connection = connections.of(client)
      if (connection !== undefined) deliverer.unsubscribe(connection, filters)
      recount(client)
    },
    authorizeSubscribe (
      client: Client, subscription: Subscription, callback: (error: Error | null, granted?: Subscription | null) => void
    ): void {
      const connection = connections.of(client)
      const { topic, qos } = subscription
      const isKnown = topic in (client as SubscribingClient).subscriptions
      if (connection?.principal === undefined || !maySubscribe(connection.principal, topic)) {
        // A session that is resumed may hold it from a time when its principal had another role.
        sessions.unsubscribe(client.id, [topic])
        return callback(null, refuse(null))
      }
      if (isLong(topic)) return callback(null, refuse('filter'))
      if (!isAllowed(topic)) return callback(null, refuse(null))
      if (!isKnown) {
        const limit = limitOn(connection, topic)
        if (limit !== null) return callback(null, refuse(limit))
        const levels = levelsOf(topic)
        connection.subscriptions++
        connection.subscriptionLevels += levels
        state.subscriptions++
        state.levels += levels
      }
      deliverer.subscribe(connection, topic, qos)
      callback(null, subscription)
    },
    /** The connection has closed. */
    forget,
    get subscriptions (): number {
      return state.subscriptions
    },
    get refused (): number {
      return state.refused
    }
  }
}
