import type { QoS, Subscription } from '../session/delivery.ts'
import type { Session } from '../session/session.ts'
import { TopicTree } from '../session/topic-tree.ts'
import { toShare, toSharedFilter } from '../topics.ts'
import { ShareGroup } from './share-group.ts'
import { WatchedTopics } from './watched-topics.ts'

/** The subscribers of one topic filter. */
export interface Subscribers {
  readonly filter: string
  readonly sessions: Map<Session, Subscription>
  /** Shared subscriptions by share name. */
  groups: Map<string, ShareGroup> | null
}

/** Subscriptions of all sessions, those whose clients are away included, by topic filter. */
export class LiveFilters {
  readonly #tree = new TopicTree<Subscribers>()
  readonly #watched = new WatchedTopics()
  readonly #onInterest: (filter: string, isWanted: boolean) => void
  #shares = 0

  /** @param onInterest - told of a filter that gets its first subscriber, or loses its last */
  constructor (onInterest: (filter: string, isWanted: boolean) => void = () => {}) {
    this.#onInterest = onInterest
  }

  /** Shared subscriptions, by share name and filter. */
  get shares (): number {
    return this.#shares
  }

  /** Adds a subscription of a connected client's session. @param filter - may be that of a shared subscription */
  add (filter: string, session: Session, subscription: Subscription): void {
    session.filters.set(filter, subscription)
    const share = toShare(filter)
    const topicFilter = share?.filter ?? filter
    let subscribers = this.#tree.get(topicFilter)
    if (subscribers === undefined) {
      subscribers = { filter: topicFilter, sessions: new Map(), groups: null }
      this.#tree.set(topicFilter, subscribers)
    }
    const members = share === null ? subscribers.sessions : this.#toGroup(subscribers, share.name)
    if (members.size === 0) this.#onInterest(filter, true)
    members.set(session, subscription)
    this.#watched.add(topicFilter, watcher(session, share))
  }

  /** @returns whether it was there */
  remove (filter: string, session: Session): boolean {
    if (!session.filters.delete(filter)) return false
    const share = toShare(filter)
    const topicFilter = share?.filter ?? filter
    const subscribers = this.#tree.get(topicFilter)
    if (subscribers === undefined) return true
    if (share === null) {
      subscribers.sessions.delete(session)
      this.#watched.remove(topicFilter, session)
      if (subscribers.sessions.size === 0) this.#onInterest(filter, false)
    } else {
      this.#leave(subscribers, share, session)
    }
    if (subscribers.sessions.size === 0 && subscribers.groups === null) this.#tree.delete(topicFilter)
    return true
  }

  removeAll (session: Session): void {
    for (const filter of [...session.filters.keys()]) this.remove(filter, session)
  }

  /** A session's client has left or come back. While it is away its subscriptions of QoS 0 queue nothing. */
  setAway (session: Session, isAway: boolean): void {
    for (const [filter, { qos }] of session.filters) {
      if (qos > 0 || toShare(filter) !== null) continue
      if (isAway) this.#watched.remove(filter, session)
      else this.#watched.add(filter, session)
    }
  }

  /** @param topic - `vital/{device}`; true may be wrong, false never is */
  isWatched (topic: string): boolean {
    return this.#watched.has(topic)
  }

  /** Subscribers of each filter that a message on `topic` matches. */
  matching (topic: string): readonly Subscribers[] {
    return this.#tree.matchTopic(topic)
  }

  #toGroup (subscribers: Subscribers, name: string): ShareGroup {
    subscribers.groups ??= new Map()
    let group = subscribers.groups.get(name)
    if (group === undefined) {
      group = new ShareGroup()
      subscribers.groups.set(name, group)
      this.#shares++
    }
    return group
  }

  #leave (subscribers: Subscribers, share: { readonly name: string, readonly filter: string }, session: Session): void {
    const group = subscribers.groups?.get(share.name)
    group?.delete(session)
    if (group === undefined || group.size > 0) return
    subscribers.groups?.delete(share.name)
    if (subscribers.groups?.size === 0) subscribers.groups = null
    this.#shares--
    this.#watched.remove(share.filter, watcher(session, share))
    this.#onInterest(toSharedFilter(share), false)
  }
}

/** What {@link WatchedTopics} counts as one: a session, or all members of a share. */
function watcher (session: Session, share: { readonly name: string } | null): unknown {
  return share === null ? session : share.name
}

/**
 * Sessions that a message is for, each once: with the highest QoS of its subscriptions that match [MQTT-3.3.4-2], and
 * with all their identifiers [MQTT-3.3.4-4].
 * @param publisher - client id; its own no-local subscriptions do not count
 */
export function toRecipients (found: readonly Subscribers[], publisher: string | undefined): ReadonlyMap<Session, Subscription> {
  const [first] = found
  if (first !== undefined && found.length === 1) return first.sessions
  const recipients = new Map<Session, Subscription>()
  for (const { sessions } of found) {
    for (const [session, subscription] of sessions) {
      if (isOwn(session, subscription, publisher)) continue
      const other = recipients.get(session)
      recipients.set(session, other === undefined ? subscription : merge(other, subscription))
    }
  }
  return recipients
}

/** Whether a message is left out for being the subscriber's own [MQTT-3.8.3-3]. */
export function isOwn (session: Session, { noLocal }: Subscription, publisher: string | undefined): boolean {
  return noLocal && session.clientId === publisher
}

function merge (one: Subscription, other: Subscription): Subscription {
  return {
    qos: Math.max(one.qos, other.qos) as QoS,
    noLocal: false,
    retainAsPublished: one.retainAsPublished || other.retainAsPublished,
    identifiers: other.identifiers.length === 0 ? one.identifiers : [...one.identifiers, ...other.identifiers]
  }
}
