import type { Client, Subscription as AedesSubscription } from 'aedes'
import { subscriptionsOf } from '../aedes-client.ts'
import { maySubscribe } from '../connect/authorisation.ts'
import type { Connection } from '../connection.ts'
import type { Connections } from '../connections.ts'
import type { LimitHits, LimitName } from '../limit-hits.ts'
import type { BrokerLimits } from '../limits.ts'
import type { Sessions } from '../session/sessions.ts'
import { type Subscription, toSubscription } from '../session/delivery.ts'
import { isShared, levelsOf, toShare } from '../topics.ts'
import { SUBSCRIPTION_REFUSED } from '../wire/encode.ts'
import type { Deliverer } from './deliverer.ts'
import { SubscriptionCounts } from './subscription-counts.ts'

interface SubscriptionGuardOptions {
  readonly connections: Connections
  readonly sessions: Sessions
  readonly deliverer: Pick<Deliverer, 'subscribe' | 'unsubscribe'>
  readonly deniedFilters: readonly string[]
  readonly hits: LimitHits
  readonly limits: Pick<BrokerLimits,
    'filterLengthMax' | 'topicLevelsMax' | 'subscriptionsPerClientMax' | 'subscriptionsMax' | 'subscriptionLevelsMax'>
}

/**
 * Grants a subscription or refuses it, and stores what it grants in the client's session. For MQTT 3.1.1 it is Aedes'
 * `authorizeSubscribe`, which refuses with 0x80.
 */
export function createSubscriptionGuard (options: SubscriptionGuardOptions) {
  const { connections, sessions, deliverer, deniedFilters, hits, limits } = options
  const denied = new Set(deniedFilters)
  const counts = new SubscriptionCounts()
  const { total } = counts

  const isLong = (filter: string) => filter.length > limits.filterLengthMax || levelsOf(filter) > limits.topicLevelsMax
  const isAllowed = (filter: string) => !isShared(filter) && !denied.has(filter)

  /** The limit that one more subscription would break; `null` when there is room. */
  function limitOn (connection: Connection, filter: string): LimitName | null {
    const { subscriptions } = counts.of(connection)
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

  /** Counts the subscriptions of an MQTT 5 client, which its session alone knows. */
  function recountSession (connection: Connection): void {
    counts.set(connection, [...connection.subscriber.session?.filters.keys() ?? []])
  }

  /** Ends a subscription of MQTT 5. @returns whether there was one */
  function end (connection: Connection, filter: string): boolean {
    const { client, subscriber: { session } } = connection
    const was = session?.filters.has(filter) === true
    if (client.clean) deliverer.unsubscribe(connection, [filter])
    else sessions.unsubscribe(client.id, [filter])
    return was
  }

  /** Counts the subscriptions of a client after Aedes has changed them: Aedes does not tell which were new. */
  function recount (client: Client): void {
    const connection = connections.of(client)
    if (connection === undefined || client.closed) return
    counts.set(connection, Object.keys(subscriptionsOf(client)))
  }

  return {
    /** SUBACK is sent: retained messages follow [MQTT-3.3.1-6]. */
    subscribed (granted: readonly AedesSubscription[], client: Client): void {
      recount(client)
      const session = client.closed ? null : connections.of(client)?.subscriber.session ?? null
      for (const { topic, qos } of granted) {
        if (qos as number !== SUBSCRIPTION_REFUSED) session?.sendRetained(topic, toSubscription(qos))
      }
    },
    unsubscribed (filters: readonly string[], client: Client): void {
      const connection = connections.of(client)
      if (connection !== undefined) deliverer.unsubscribe(connection, filters)
      recount(client)
    },
    authorizeSubscribe (
      client: Client, subscription: AedesSubscription,
      callback: (error: Error | null, granted?: AedesSubscription | null) => void
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
        counts.add(connection, topic)
      }
      deliverer.subscribe(connection, topic, toSubscription(qos))
      callback(null, subscription)
    },
    /**
     * Subscribes a client of MQTT 5.
     * @returns why it is refused: the limit, or that its principal may not; `null`: it is granted
     */
    subscribe (connection: Connection, filter: string, subscription: Subscription): 'not_allowed' | LimitName | null {
      const { principal } = connection.access
      if (principal === undefined || !maySubscribe(principal, filter) || denied.has(toShare(filter)?.filter ?? filter)) {
        end(connection, filter)
        return 'not_allowed'
      }
      const isKnown = connection.subscriber.session?.filters.has(filter) === true
      const limit = isLong(filter) ? 'filter' : isKnown ? null : limitOn(connection, filter)
      if (limit !== null) {
        hits.hit(limit)
        return limit
      }
      deliverer.subscribe(connection, filter, subscription)
      recountSession(connection)
      return null
    },
    /** Ends a subscription of a client of MQTT 5. @returns whether there was one */
    unsubscribe (connection: Connection, filter: string): boolean {
      const was = end(connection, filter)
      recountSession(connection)
      return was
    },
    /** A client of MQTT 5 resumes its session: its role may have changed since. */
    resume (connection: Connection): void {
      const { client, access: { principal } } = connection
      for (const filter of [...sessions.find(client.id)?.filters.keys() ?? []]) {
        if (principal === undefined || !maySubscribe(principal, filter)) sessions.unsubscribe(client.id, [filter])
      }
    },
    recount: recountSession,
    /** A connection has closed. */
    forget (connection: Connection): void {
      counts.set(connection, [])
    },
    /** Subscriptions of all connections. */
    get count (): number {
      return total.subscriptions
    }
  }
}

export type SubscriptionGuard = ReturnType<typeof createSubscriptionGuard>
