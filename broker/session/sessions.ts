import type { Principal } from '../../schemas/principal.ts'
import type { LimitHits } from '../limit-hits.ts'
import type { BrokerLimits } from '../limits.ts'
import type { LiveFilters } from '../deliver/live-filters.ts'
import { type QoS, type Subscription } from './delivery.ts'
import type { Session } from './session.ts'
import { levelsOf } from '../topics.ts'

interface SessionRecord {
  /** `null` in the open mode, and while it holds only a clean session's packet ids. */
  owner: Principal | null
  /** Made with its first subscription. */
  session: Session | null
  /** Packet ids of QoS 2 publishes between PUBREC and PUBREL. */
  readonly inbound: Set<number>
  connections: number
  /** Kept until its expiry, however little it holds: an MQTT 5 client is told that it is present. */
  isKept: boolean
  /** When its last connection closed; infinite while there is one, and for a clean session. */
  leftAtMs: number
}

type SessionsLimits = Pick<BrokerLimits,
  'sessionsMax' | 'sessionExpiryMs' | 'inboundQos2PerClientMax' | 'inboundQos2Max' | 'subscriptionsMax' |
  'subscriptionLevelsMax'>

interface SessionsOptions {
  readonly limits: SessionsLimits
  readonly hits: LimitHits
  readonly filters: LiveFilters
  readonly createSession: (clientId: string) => Session
  readonly observer: SessionObserver
}

/** Told of sessions, in the same turn. */
export interface SessionObserver {
  /** A session has ended; there may have been none. */
  ended (clientId: string): void
  /** A client has begun or resumed its session, here or elsewhere. */
  attached (clientId: string): void
  /** The state of a session beside its deliveries has changed. */
  changed (clientId: string): void
}

/** A session without its deliveries, as it goes from one gateway to another. */
export interface SessionState {
  readonly owner: Principal | null
  readonly isKept: boolean
  readonly subscriptions: ReadonlyArray<readonly [filter: string, subscription: Subscription]>
  readonly inbound: readonly number[]
  /** When its client left, by `performance.now()`; infinite while it is connected. */
  readonly leftAtMs: number
  /** When it ends, where that is before `sessionExpiryMs`. */
  readonly endsAtMs: number | null
}

/**
 * Session state (MQTT 3.1.1 §3.1.2.4) by client id, in bounded memory. A session is kept while it holds anything:
 * a device that asks for one and only publishes costs nothing once it has left.
 */
export class Sessions {
  readonly #limits: SessionsLimits
  readonly #hits: LimitHits
  readonly #filters: LiveFilters
  readonly #createSession: (clientId: string) => Session
  readonly #observer: SessionObserver
  readonly #records = new Map<string, SessionRecord>()
  /** Sessions that hold subscriptions, and those subscriptions. */
  subscribed = 0
  subscriptions = 0
  /** Levels of all their filters together. */
  subscriptionLevels = 0
  inboundQos2 = 0
  /** End times of the sessions of absent MQTT 5 clients that end before `sessionExpiryMs`. */
  readonly #ends = new Map<string, number>()
  /** Sessions whose clients are away. */
  #absent = 0

  constructor ({ limits, hits, filters, createSession, observer }: SessionsOptions) {
    this.#limits = limits
    this.#hits = hits
    this.#filters = filters
    this.#createSession = createSession
    this.#observer = observer
  }

  /** The principal of a session; `undefined` when nothing is kept. */
  ownerOf (clientId: string): Principal | null | undefined {
    return this.#records.get(clientId)?.owner
  }

  /** Subscriptions and deliveries of a client; `null` while there are none. */
  find (clientId: string): Session | null {
    return this.#records.get(clientId)?.session ?? null
  }

  /** Whether a client that resumes its session finds one. */
  has (clientId: string): boolean {
    return this.#records.has(clientId)
  }

  /**
   * A client of a persistent session has connected.
   * @param isKept - its session is kept though it holds nothing
   */
  attach (clientId: string, owner: Principal | null, isKept = false): void {
    const record = this.#get(clientId)
    record.owner = owner
    record.isKept = isKept
    this.#ends.delete(clientId)
    this.#observer.changed(clientId)
    this.#observer.attached(clientId)
    if (record.leftAtMs !== Infinity) this.#absent--
    record.leftAtMs = Infinity
    record.connections++
    if (record.session !== null) this.#filters.setAway(record.session, false)
  }

  /**
   * A client of a persistent session has left; a session that holds nothing is forgotten.
   * @param expiryMs - its Session Expiry Interval; `sessionExpiryMs` bounds it
   */
  detach (clientId: string, nowMs: number, expiryMs = Infinity): void {
    const record = this.#records.get(clientId)
    if (record === undefined || --record.connections > 0) return
    this.#observer.changed(clientId)
    if (expiryMs < this.#limits.sessionExpiryMs) this.#ends.set(clientId, nowMs + expiryMs)
    this.#leave(clientId, record, nowMs)
    if (expiryMs === 0) this.end(clientId)
  }

  /** Forgets the sessions whose clients left more than `sessionExpiryMs` ago. */
  expire (nowMs: number): void {
    for (const [clientId, record] of this.#records) {
      if (nowMs - record.leftAtMs > this.#limits.sessionExpiryMs) this.end(clientId)
    }
  }

  /** Forgets the sessions whose clients asked for a shorter time, once it has passed. */
  expireEarly (nowMs: number): void {
    for (const [clientId, endMs] of this.#ends) if (endMs <= nowMs) this.end(clientId)
  }

  /** Ends a session for good. */
  end (clientId: string): void {
    this.#observer.ended(clientId)
    this.#end(clientId)
  }

  /** A session goes on at another gateway. */
  surrender (clientId: string): void {
    this.#observer.attached(clientId)
    this.#end(clientId)
  }

  #end (clientId: string): void {
    this.#observer.changed(clientId)
    const record = this.#records.get(clientId)
    if (record === undefined) return
    record.isKept = false
    if (record.session !== null) {
      this.unsubscribe(clientId, [...record.session.filters.keys()])
      record.session.clear()
      record.session = null
    }
    this.releaseInbound(clientId)
    this.#prune(clientId, record)
  }

  /** The limit that one more subscription of this session would break; `null` when there is room. */
  limitOn (clientId: string, filter: string): 'sessions' | 'subscriptions' | null {
    const { sessionsMax, subscriptionsMax, subscriptionLevelsMax } = this.#limits
    const filters = this.find(clientId)?.filters
    if ((filters?.size ?? 0) === 0 && this.subscribed >= sessionsMax) return 'sessions'
    if (filters?.has(filter) === true) return null
    const levels = this.subscriptionLevels + levelsOf(filter)
    return this.subscriptions >= subscriptionsMax || levels > subscriptionLevelsMax ? 'subscriptions' : null
  }

  /** @returns the session that holds the subscription now */
  subscribe (clientId: string, filter: string, subscription: Subscription): Session {
    const record = this.#get(clientId)
    record.session ??= this.#createSession(clientId)
    const { session } = record
    if (session.filters.size === 0) this.subscribed++
    if (!session.filters.has(filter)) {
      this.subscriptions++
      this.subscriptionLevels += levelsOf(filter)
    }
    this.#filters.add(filter, session, subscription)
    this.#observer.changed(clientId)
    return session
  }

  unsubscribe (clientId: string, filters: readonly string[]): void {
    const session = this.find(clientId)
    if (session === null || session.filters.size === 0) return
    this.#observer.changed(clientId)
    for (const filter of filters) {
      if (!this.#filters.remove(filter, session)) continue
      this.subscriptions--
      this.subscriptionLevels -= levelsOf(filter)
    }
    if (session.filters.size === 0) this.subscribed--
  }

  subscriptionsOf (clientId: string): Array<{ topic: string, qos: QoS }> {
    return Array.from(this.find(clientId)?.filters ?? [], ([topic, { qos }]) => ({ topic, qos }))
  }

  /** Drops what sessions still have to deliver, by topic. @returns how many deliveries */
  drop (isMeant: (topic: string) => boolean): number {
    let dropped = 0
    for (const [clientId, record] of this.#records) {
      const count = record.session?.drop(isMeant) ?? 0
      dropped += count
      if (count > 0) this.#prune(clientId, record)
    }
    return dropped
  }

  hasInbound (clientId: string, messageId: number): boolean {
    return this.#records.get(clientId)?.inbound.has(messageId) ?? false
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
    this.#observer.changed(clientId)
    return true
  }

  /**
   * Notes a QoS 2 publish of a client that has left.
   * @returns false when it was noted before
   */
  addInboundOfAbsent (clientId: string, owner: Principal | null, messageId: number, nowMs: number): boolean {
    if (this.hasInbound(clientId, messageId)) return false
    this.addInbound(clientId, messageId)
    const record = this.#get(clientId)
    if (record.connections === 0 && record.leftAtMs === Infinity) {
      record.owner = owner
      this.#leave(clientId, record, nowMs)
    }
    return true
  }

  /** QoS 2 publishes of a client that await their PUBREL. */
  inboundOf (clientId: string): number {
    return this.#records.get(clientId)?.inbound.size ?? 0
  }

  removeInbound (clientId: string, messageId: number): boolean {
    const removed = this.#records.get(clientId)?.inbound.delete(messageId) ?? false
    if (removed) {
      this.inboundQos2--
      this.#observer.changed(clientId)
    }
    return removed
  }

  releaseInbound (clientId: string): void {
    const record = this.#records.get(clientId)
    if (record === undefined) return
    this.inboundQos2 -= record.inbound.size
    record.inbound.clear()
    this.#prune(clientId, record)
  }

  /** @returns `null` where nothing is kept */
  stateOf (clientId: string): SessionState | null {
    const record = this.#records.get(clientId)
    if (record === undefined) return null
    const { owner, isKept, inbound, leftAtMs } = record
    const endsAtMs = this.#ends.get(clientId) ?? null
    return { owner, isKept, subscriptions: [...record.session?.filters ?? []], inbound: [...inbound], leftAtMs, endsAtMs }
  }

  /**
   * Takes a session that was elsewhere, whose client is away.
   * @returns the session, without deliveries; `null`: the bounds leave no room, or its client id has a session
   */
  restore (clientId: string, { owner, isKept, subscriptions, inbound, leftAtMs, endsAtMs }: SessionState): Session | null {
    if (this.#records.has(clientId)) return null
    if (subscriptions.some(([filter]) => this.limitOn(clientId, filter) !== null)) {
      this.#hits.hit('sessions')
      return null
    }
    const session = this.#createSession(clientId)
    const record = this.#get(clientId)
    Object.assign(record, { owner, isKept, session })
    for (const messageId of inbound) this.addInbound(clientId, messageId)
    for (const [filter, subscription] of subscriptions) this.subscribe(clientId, filter, subscription)
    if (endsAtMs !== null) this.#ends.set(clientId, endsAtMs)
    record.leftAtMs = leftAtMs
    this.#absent++
    this.#filters.setAway(session, true)
    return session
  }

  #get (clientId: string): SessionRecord {
    let record = this.#records.get(clientId)
    if (record === undefined) {
      record = { owner: null, session: null, inbound: new Set(), connections: 0, isKept: false, leftAtMs: Infinity }
      this.#records.set(clientId, record)
    }
    return record
  }

  #leave (clientId: string, record: SessionRecord, nowMs: number): void {
    record.leftAtMs = nowMs
    this.#absent++
    if (record.session !== null) this.#filters.setAway(record.session, true)
    // Sessions with subscriptions are bounded when they subscribe; of the others, only packet ids would be kept.
    if ((record.session?.filters.size ?? 0) === 0 && this.#absent > this.#limits.sessionsMax) this.end(clientId)
    else this.#prune(clientId, record)
  }

  #prune (clientId: string, { connections, session, inbound, isKept, leftAtMs }: SessionRecord): void {
    if (connections > 0 || isKept || (session !== null && (session.filters.size > 0 || session.size > 0)) || inbound.size > 0) return
    if (leftAtMs !== Infinity) this.#absent--
    this.#records.delete(clientId)
    this.#ends.delete(clientId)
  }
}
