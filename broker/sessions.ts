import type { AedesPublishPacket } from 'aedes'
import type { Principal } from '../schemas/principal.ts'
import type { LimitHits } from './limit-hits.ts'
import type { BrokerLimits } from './limits.ts'
import { ownCopy } from './retained.ts'
import { type Outgoing, SessionQueue } from './session-queue.ts'
import { TopicTree } from './topic-tree.ts'
import { levelsOf } from './topics.ts'

type QoS = 0 | 1 | 2

/** A subscription of a session, as Aedes' persistence tells it. */
export interface SessionSubscription {
  readonly clientId: string
  readonly topic: string
  readonly qos: QoS
}

interface Session {
  /** Whose it is; `null` in the open mode, and while only a clean session's packet ids are in it. */
  owner: Principal | null
  readonly filters: Map<string, QoS>
  readonly queue: SessionQueue
  /** Packet ids of QoS 2 publishes that were taken and not yet released by PUBREL. */
  readonly inbound: Set<number>
  connections: number
  /** When its last connection closed; infinite while there is one, and for a clean session. */
  leftAtMs: number
}

type SessionLimits = Pick<BrokerLimits, 'sessionsMax' | 'sessionExpiryMs' | 'queuedMessagesPerSessionMax' |
  'queuedBytesPerSessionMax' | 'queuedBytesMax' | 'inboundQos2PerClientMax' | 'inboundQos2Max' | 'subscriptionsMax' | 'subscriptionLevelsMax'>

const NO_SUBSCRIPTIONS: readonly SessionSubscription[] = []

/**
 * Session state (MQTT 3.1.1 §3.1.2.4) by client id, in bounded memory. A session is kept while it holds anything:
 * a device that asks for one and only publishes costs nothing once it has left.
 */
export class Sessions {
  readonly #limits: SessionLimits
  readonly #hits: LimitHits
  readonly #sessions = new Map<string, Session>()
  readonly #byFilter = new TopicTree<Map<string, SessionSubscription>>()
  /** Sessions that hold subscriptions, and those subscriptions. */
  subscribed = 0
  subscriptions = 0
  /** Levels of all their filters together. */
  subscriptionLevels = 0
  queuedMessages = 0
  queuedBytes = 0
  queuedDropped = 0
  inboundQos2 = 0
  /** Sessions whose clients are away. */
  #absent = 0

  constructor ({ limits, hits }: { limits: SessionLimits, hits: LimitHits }) {
    this.#limits = limits
    this.#hits = hits
  }

  /** Whose session it is; `undefined` when nothing is kept. */
  ownerOf (clientId: string): Principal | null | undefined {
    return this.#sessions.get(clientId)?.owner
  }

  /** A client of a persistent session has connected. */
  attach (clientId: string, owner: Principal | null): void {
    const session = this.#get(clientId)
    session.owner = owner
    if (session.leftAtMs !== Infinity) this.#absent--
    session.leftAtMs = Infinity
    session.connections++
  }

  /** It has left; what it did not need kept is gone. */
  detach (clientId: string, nowMs: number): void {
    const session = this.#sessions.get(clientId)
    if (session === undefined || --session.connections > 0) return
    this.#leave(clientId, session, nowMs)
  }

  /** Forgets the sessions whose clients left more than `sessionExpiryMs` ago. */
  expire (nowMs: number): void {
    for (const [clientId, session] of this.#sessions) {
      if (nowMs - session.leftAtMs > this.#limits.sessionExpiryMs) this.end(clientId)
    }
  }

  /** Ends a session for good. */
  end (clientId: string): void {
    const session = this.#sessions.get(clientId)
    if (session === undefined) return
    this.unsubscribe(clientId, [...session.filters.keys()])
    this.queuedMessages -= session.queue.size
    this.queuedBytes -= session.queue.clear()
    this.releaseInbound(clientId)
    this.#prune(clientId, session)
  }

  /** The limit that one more subscription of this session would break; `null` when there is room. */
  limitOn (clientId: string, filter: string): 'sessions' | 'subscriptions' | null {
    const { sessionsMax, subscriptionsMax, subscriptionLevelsMax } = this.#limits
    const filters = this.#sessions.get(clientId)?.filters
    if ((filters?.size ?? 0) === 0 && this.subscribed >= sessionsMax) return 'sessions'
    if (filters?.has(filter) === true) return null
    return this.subscriptions >= subscriptionsMax || this.subscriptionLevels + levelsOf(filter) > subscriptionLevelsMax ? 'subscriptions' : null
  }

  subscribe (clientId: string, topic: string, qos: QoS): void {
    const { filters } = this.#get(clientId)
    if (filters.size === 0) this.subscribed++
    if (!filters.has(topic)) {
      this.subscriptions++
      this.subscriptionLevels += levelsOf(topic)
    }
    filters.set(topic, qos)
    const subscribers = this.#byFilter.get(topic)
    const subscription = { clientId, topic, qos }
    if (subscribers === undefined) this.#byFilter.set(topic, new Map([[clientId, subscription]]))
    else subscribers.set(clientId, subscription)
  }

  unsubscribe (clientId: string, topics: readonly string[]): void {
    const filters = this.#sessions.get(clientId)?.filters
    if (filters === undefined || filters.size === 0) return
    for (const topic of topics) {
      if (!filters.delete(topic)) continue
      this.subscriptions--
      this.subscriptionLevels -= levelsOf(topic)
      const subscribers = this.#byFilter.get(topic)
      subscribers?.delete(clientId)
      if (subscribers?.size === 0) this.#byFilter.delete(topic)
    }
    if (filters.size === 0) this.subscribed--
  }

  subscriptionsOf (clientId: string): Array<{ topic: string, qos: QoS }> {
    return Array.from(this.#sessions.get(clientId)?.filters ?? [], ([topic, qos]) => ({ topic, qos }))
  }

  /** Subscriptions of QoS 1 and 2 that a message on `topic` must be queued for, the highest of each session. */
  matching (topic: string): readonly SessionSubscription[] {
    if (this.subscribed === 0) return NO_SUBSCRIPTIONS
    const highest = new Map<string, SessionSubscription>()
    for (const subscribers of this.#byFilter.matchTopic(topic)) {
      for (const subscription of subscribers.values()) {
        const { clientId, qos } = subscription
        if (qos > (highest.get(clientId)?.qos ?? 0)) highest.set(clientId, subscription)
      }
    }
    return [...highest.values()]
  }

  /** Queues a message; beyond the bounds it is dropped for that session, and a client that is there gets it unqueued. */
  enqueue (subscriptions: readonly SessionSubscription[], packet: AedesPublishPacket): void {
    if (subscriptions.length === 0) return
    const payload = ownCopy(packet.payload)
    for (const { clientId, qos } of subscriptions) {
      const { queue } = this.#get(clientId)
      if (this.#isFull(queue)) {
        this.queuedDropped++
        this.#hits.hit('queue')
        continue
      }
      const { brokerId, brokerCounter, topic } = packet
      const granted = Math.min(qos, packet.qos) as QoS
      this.queuedMessages++
      this.queuedBytes += queue.add({
        cmd: 'publish', brokerId, brokerCounter, topic, payload, qos: granted, retain: false, dup: false
      })
    }
  }

  #isFull ({ size, bytes }: SessionQueue): boolean {
    const { queuedMessagesPerSessionMax, queuedBytesPerSessionMax, queuedBytesMax } = this.#limits
    return size >= queuedMessagesPerSessionMax || bytes >= queuedBytesPerSessionMax || this.queuedBytes >= queuedBytesMax
  }

  updateQueued (clientId: string, packet: Parameters<SessionQueue['update']>[0]): void {
    this.#sessions.get(clientId)?.queue.update(packet)
  }

  removeQueued (clientId: string, packet: Parameters<SessionQueue['remove']>[0]): Outgoing | undefined {
    const removed = this.#sessions.get(clientId)?.queue.remove(packet)
    if (removed === null || removed === undefined) return undefined
    this.queuedMessages--
    this.queuedBytes -= removed.bytes
    return removed.packet
  }

  /** Drops what is queued in any session, by topic. @returns how many messages */
  dropQueued (isMeant: (topic: string) => boolean): number {
    let dropped = 0
    for (const [clientId, session] of this.#sessions) {
      const { count, bytes } = session.queue.drop(isMeant)
      dropped += count
      this.queuedMessages -= count
      this.queuedBytes -= bytes
      if (count > 0) this.#prune(clientId, session)
    }
    return dropped
  }

  queued (clientId: string): Outgoing[] {
    return this.#sessions.get(clientId)?.queue.packets() ?? []
  }

  hasInbound (clientId: string, messageId: number): boolean {
    return this.#sessions.get(clientId)?.inbound.has(messageId) ?? false
  }

  /** @returns false when the bounds leave no room */
  addInbound (clientId: string, messageId: number): boolean {
    const { inbound } = this.#get(clientId)
    if (inbound.has(messageId)) return true
    if (inbound.size >= this.#limits.inboundQos2PerClientMax || this.inboundQos2 >= this.#limits.inboundQos2Max) {
      this.#hits.hit('qos2_in_flight')
      return false
    }
    inbound.add(messageId)
    this.inboundQos2++
    return true
  }

  /**
   * Notes a publish that a client left behind in its session.
   * @returns false when it was noted before
   */
  addInboundOfAbsent (clientId: string, owner: Principal | null, messageId: number, nowMs: number): boolean {
    if (this.hasInbound(clientId, messageId)) return false
    this.addInbound(clientId, messageId)
    const session = this.#get(clientId)
    if (session.connections === 0 && session.leftAtMs === Infinity) {
      session.owner = owner
      this.#leave(clientId, session, nowMs)
    }
    return true
  }

  removeInbound (clientId: string, messageId: number): boolean {
    const removed = this.#sessions.get(clientId)?.inbound.delete(messageId) ?? false
    if (removed) this.inboundQos2--
    return removed
  }

  releaseInbound (clientId: string): void {
    const session = this.#sessions.get(clientId)
    if (session === undefined) return
    this.inboundQos2 -= session.inbound.size
    session.inbound.clear()
    this.#prune(clientId, session)
  }

  #get (clientId: string): Session {
    let session = this.#sessions.get(clientId)
    if (session === undefined) {
      session = { owner: null, filters: new Map(), queue: new SessionQueue(), inbound: new Set(), connections: 0, leftAtMs: Infinity }
      this.#sessions.set(clientId, session)
    }
    return session
  }

  #leave (clientId: string, session: Session, nowMs: number): void {
    session.leftAtMs = nowMs
    this.#absent++
    // Sessions with subscriptions are bounded when they subscribe; of the others, only packet ids would be kept.
    if (session.filters.size === 0 && this.#absent > this.#limits.sessionsMax) this.end(clientId)
    else this.#prune(clientId, session)
  }

  #prune (clientId: string, { connections, filters, queue, inbound, leftAtMs }: Session): void {
    if (connections > 0 || filters.size > 0 || queue.size > 0 || inbound.size > 0) return
    if (leftAtMs !== Infinity) this.#absent--
    this.#sessions.delete(clientId)
  }
}
