import type { QoS } from '../session/delivery.ts'
import type { Session } from '../session/session.ts'
import { TopicTree } from '../session/topic-tree.ts'
import { WatchedTopics } from './watched-topics.ts'

/** Subscriptions of all sessions, those whose clients are away included, by topic filter. */
export class LiveFilters {
  readonly #tree = new TopicTree<Map<Session, QoS>>()
  readonly #watched = new WatchedTopics()

  /** Of a session whose client is connected. */
  add (filter: string, session: Session, qos: QoS): void {
    session.filters.set(filter, qos)
    const subscribers = this.#tree.get(filter)
    if (subscribers === undefined) this.#tree.set(filter, new Map([[session, qos]]))
    else subscribers.set(session, qos)
    this.#watched.add(filter, session)
  }

  /** @returns whether it was there */
  remove (filter: string, session: Session): boolean {
    if (!session.filters.delete(filter)) return false
    this.#watched.remove(filter, session)
    const subscribers = this.#tree.get(filter)
    subscribers?.delete(session)
    if (subscribers?.size === 0) this.#tree.delete(filter)
    return true
  }

  removeAll (session: Session): void {
    for (const filter of [...session.filters.keys()]) this.remove(filter, session)
  }

  /** A session's client has left or come back: nothing is queued for its subscriptions of QoS 0. */
  setAway (session: Session, isAway: boolean): void {
    for (const [filter, qos] of session.filters) {
      if (qos > 0) continue
      if (isAway) this.#watched.remove(filter, session)
      else this.#watched.add(filter, session)
    }
  }

  /** @param topic - `vital/{device}`; true may be wrong, false never is */
  isWatched (topic: string): boolean {
    return this.#watched.has(topic)
  }

  /** Sessions that a message on `topic` is for, each with the highest QoS of its subscriptions that match. */
  matching (topic: string): ReadonlyMap<Session, QoS> | null {
    const found = this.#tree.matchTopic(topic)
    const [first] = found
    if (first === undefined) return null
    if (found.length === 1) return first
    const highest = new Map(first)
    for (const subscribers of found) {
      for (const [session, qos] of subscribers) {
        if (qos > (highest.get(session) ?? -1)) highest.set(session, qos)
      }
    }
    return highest
  }
}
