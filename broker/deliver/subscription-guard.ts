import type { Client, Subscription } from 'aedes'
import { subscriptionsOf } from '../aedes-client.ts'
import { maySubscribe } from '../connect/authorisation.ts'
import type { Connection } from '../connection.ts'
import type { Connections } from '../connections.ts'
import type { LimitHits, LimitName } from '../limit-hits.ts'
import type { BrokerLimits } from '../limits.ts'
import type { Sessions } from '../session/sessions.ts'
import { isShared, levelsOf } from '../topics.ts'
import { SUBSCRIPTION_REFUSED } from '../wire/encode.ts'
import type { Deliverer } from './deliverer.ts'

interface SubscriptionGuardOptions {
  readonly connections: Connections
  readonly sessions: Sessions
  readonly deliverer: Pick<Deliverer, 'subscribe' | 'unsubscribe'>
  readonly deniedFilters: readonly string[]
  readonly hits: LimitHits
  readonly limits: Pick<BrokerLimits,
    'filterLengthMax' | 'topicLevelsMax' | 'subscriptionsPerClientMax' | 'subscriptionsMax' | 'subscriptionLevelsMax'>
}

/** Subscriptions of one connection. */
interface Counts { subscriptions: number, levels: number }

const NONE: Readonly<Counts> = { subscriptions: 0, levels: 0 }

/**
 * Aedes' `authorizeSubscribe`: grants a subscription or refuses it with 0x80, and stores what it grants in the client's
 * session.
 */
export function createSubscriptionGuard (options: SubscriptionGuardOptions) {
  const { connections, sessions, deliverer, deniedFilters, hits, limits } = options
  const denied = new Set(deniedFilters)
  /** Of connections that subscribe to anything. */
  const counts = new Map<Connection, Readonly<Counts>>()
  const total = { subscriptions: 0, levels: 0 }

  const isLong = (filter: string) => filter.length > limits.filterLengthMax || levelsOf(filter) > limits.topicLevelsMax
  const isAllowed = (filter: string) => !isShared(filter) && !denied.has(filter)

  /** The limit that one more subscription would break; `null` when there is room. */
  function limitOn (connection: Connection, filter: string): LimitName | null {
    const { subscriptions } = counts.get(connection) ?? NONE
    if (subscriptions >= limits.subscriptionsPerClientMax) return 'subscriptions_per_client'
    if (total.subscriptions >= limits.subscriptionsMax) return 'subscriptions'
    if (total.levels + levelsOf(filter) > limits.subscriptionLevelsMax) return 'subscriptions'
    const { client } = connection
    return client.clean ? null : sessions.limitOn(client.id, filter)
  }

  function refuse (limit: LimitName | null): null {
    if (limit !== null) hits.hit(limit)
    return null
  }

  function setCounts (connection: Connection, { subscriptions, levels }: Counts): void {
    const before = counts.get(connection) ?? NONE
    total.subscriptions += subscriptions - before.subscriptions
    total.levels += levels - before.levels
    if (subscriptions === 0) counts.delete(connection)
    else counts.set(connection, { subscriptions, levels })
  }

  /** After Aedes changed them; it tells neither which were new nor which were known. */
  function recount (client: Client): void {
    const connection = connections.of(client)
    if (connection === undefined || client.closed) return
    const filters = Object.keys(subscriptionsOf(client))
    const levels = filters.reduce((sum, filter) => sum + levelsOf(filter), 0)
    setCounts(connection, { subscriptions: filters.length, levels })
  }

  return {
    /** SUBACK is sent: retained messages follow [MQTT-3.3.1-6]. */
    subscribed (granted: readonly Subscription[], client: Client): void {
      recount(client)
      const session = client.closed ? null : connections.of(client)?.subscriber.session ?? null
      for (const { topic, qos } of granted) {
        if (qos as number !== SUBSCRIPTION_REFUSED) session?.sendRetained(topic, qos)
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
      const principal = connection?.access.principal
      if (connection === undefined || principal === undefined || !maySubscribe(principal, topic)) {
        // A session that is resumed may hold it from a time when its principal had another role.
        sessions.unsubscribe(client.id, [topic])
        return callback(null, refuse(null))
      }
      if (isLong(topic)) return callback(null, refuse('filter'))
      if (!isAllowed(topic)) return callback(null, refuse(null))
      if (!(topic in subscriptionsOf(client))) {
        const limit = limitOn(connection, topic)
        if (limit !== null) return callback(null, refuse(limit))
        const { subscriptions, levels } = counts.get(connection) ?? NONE
        setCounts(connection, { subscriptions: subscriptions + 1, levels: levels + levelsOf(topic) })
      }
      deliverer.subscribe(connection, topic, qos)
      callback(null, subscription)
    },
    /** A connection has closed. */
    forget (connection: Connection): void {
      setCounts(connection, NONE)
    },
    /** Subscriptions of all connections. */
    get count (): number {
      return total.subscriptions
    }
  }
}

export type SubscriptionGuard = ReturnType<typeof createSubscriptionGuard>
