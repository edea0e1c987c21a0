import type { Connection } from '../connection.ts'
import { levelsOf } from '../topics.ts'

/** Subscriptions, and levels of all their filters together. */
interface Counts { readonly subscriptions: number, readonly levels: number }

const NONE: Counts = { subscriptions: 0, levels: 0 }

/** How many subscriptions each connection has, and all together. */
export class SubscriptionCounts {
  /** Of connections that subscribe to anything. */
  readonly #counts = new Map<Connection, Counts>()
  readonly total = { subscriptions: 0, levels: 0 }

  of (connection: Connection): Counts {
    return this.#counts.get(connection) ?? NONE
  }

  /** One more. */
  add (connection: Connection, filter: string): void {
    const { subscriptions, levels } = this.of(connection)
    this.#set(connection, { subscriptions: subscriptions + 1, levels: levels + levelsOf(filter) })
  }

  /** These and no others. */
  set (connection: Connection, filters: readonly string[]): void {
    this.#set(connection, { subscriptions: filters.length, levels: filters.reduce((sum, filter) => sum + levelsOf(filter), 0) })
  }

  #set (connection: Connection, counts: Counts): void {
    const before = this.of(connection)
    this.total.subscriptions += counts.subscriptions - before.subscriptions
    this.total.levels += counts.levels - before.levels
    if (counts.subscriptions === 0) this.#counts.delete(connection)
    else this.#counts.set(connection, counts)
  }
}
