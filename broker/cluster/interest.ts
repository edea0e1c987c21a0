/**
 * Which topic filters have subscribers, at which gateway.
 *
 * In one step of Redis this gateway writes its filters and reads which gateways are registered. It tells these
 * gateways; one that registers later reads the filters from Redis. Each answers once it knows. A SUBACK waits for all
 * answers, or until the lease of a gateway that does not answer has ended. So a message that is published after SUBACK,
 * at any gateway, finds its subscriber. The interest of a dead gateway stays until its sessions are adopted: messages
 * for them go to its stream meanwhile.
 */
import type { Logger } from 'pino'
import { WatchedTopics } from '../deliver/watched-topics.ts'
import { TopicTree } from '../session/topic-tree.ts'
import { toShare } from '../topics.ts'
import { KEYS } from './keys.ts'
import type { Members } from './members.ts'
import type { Outbox } from './outbox.ts'
import type { RedisLink, Reply } from './redis/redis-link.ts'
import { ANNOUNCE } from './scripts.ts'

/** What one gateway wants of a topic filter. */
export interface Wanted {
  isPlain: boolean
  /** Filters of shared subscriptions, share name included. */
  readonly shares: Set<string>
}

interface InterestOptions {
  readonly link: Pick<RedisLink, 'isUp' | 'call'>
  readonly members: () => Members
  readonly outbox: Outbox
  /** This gateway is not registered any more. */
  readonly onLost: () => void
  readonly resendIntervalMs: number
  readonly timeoutMs: number
  readonly logger: Logger
}

/** An announcement that others have not answered yet. */
interface Waiting {
  readonly version: number
  readonly add: readonly string[]
  readonly del: readonly string[]
  readonly gateways: Set<string>
  readonly sentAtMs: number
  readonly settle: () => void
}

/** See the top of this file. */
export class Interest {
  readonly #options: InterestOptions
  readonly #own = new Set<string>()
  #added = new Set<string>()
  #removed = new Set<string>()
  readonly #waiting = new Map<number, Waiting>()
  #version = 0
  /** Announcements that others have not all answered, the next one included. */
  readonly #pending = new Set<Promise<void>>()
  /** Settles the callers that wait for the next announcement. */
  #next: (() => void) | null = null
  #isAnnouncing = false
  #again: NodeJS.Timeout | null = null
  readonly #tree = new TopicTree<Map<string, Wanted>>()
  readonly #watched = new WatchedTopics()
  readonly #filters = new Map<string, Set<string>>()
  /** Gateways whose interest is being read, and what they told meanwhile. */
  readonly #loading = new Map<string, { readonly add: Set<string>, readonly del: Set<string> }>()

  constructor (options: InterestOptions) {
    this.#options = options
  }

  has (filter: string): boolean {
    return this.#own.has(filter)
  }

  wants (filter: string, isWanted: boolean): void {
    if (isWanted) {
      this.#own.add(filter)
      this.#removed.delete(filter)
      this.#added.add(filter)
    } else {
      this.#own.delete(filter)
      this.#added.delete(filter)
      this.#removed.add(filter)
    }
    this.#schedule()
  }

  /** Settles once the others know all filters that are wanted now; `null`: they do. */
  whenKnown (): Promise<void> | null {
    if (this.#pending.size === 0 || !this.#options.link.isUp) return null
    return Promise.all(this.#pending).then(() => {})
  }

  /** Announces all filters again, because Redis or the others may not know them. */
  announceAll (): void {
    for (const filter of this.#own) this.#added.add(filter)
    this.#schedule()
  }

  /** Settles all callers, because Redis is away. */
  giveUp (): void {
    for (const waiting of [...this.#waiting.values()]) this.#settle(waiting)
  }

  /** A gateway has answered, or need not be waited for. */
  answered (gateway: string, version?: number): void {
    for (const waiting of [...this.#waiting.values()]) {
      if (version !== undefined && waiting.version !== version) continue
      waiting.gateways.delete(gateway)
      if (waiting.gateways.size === 0) this.#settle(waiting)
    }
  }

  /** Tells those again that have not answered, and gives up after `timeoutMs`. */
  resend (): void {
    const nowMs = performance.now()
    for (const waiting of [...this.#waiting.values()]) {
      if (nowMs - waiting.sentAtMs > this.#options.timeoutMs) {
        this.#options.logger.warn({ gateways: [...waiting.gateways] }, 'gateways did not say that they know of a subscription')
        this.#settle(waiting)
        continue
      }
      if (nowMs - waiting.sentAtMs < this.#options.resendIntervalMs) continue
      for (const gateway of waiting.gateways) this.#tell(gateway, waiting)
    }
  }

  /** A gateway has told what it wants. */
  learn (gateway: string, add: readonly string[], del: readonly string[]): void {
    const loading = this.#loading.get(gateway)
    for (const filter of add) {
      this.#want(gateway, filter)
      loading?.add.add(filter)
      loading?.del.delete(filter)
    }
    for (const filter of del) {
      this.#leave(gateway, filter)
      loading?.del.add(filter)
      loading?.add.delete(filter)
    }
  }

  /** Reads from Redis what a gateway wants. */
  async load (gateway: string): Promise<void> {
    const told = { add: new Set<string>(), del: new Set<string>() }
    this.#loading.set(gateway, told)
    try {
      const filters = (await this.#options.link.call('SMEMBERS', KEYS.interest(gateway)) as Reply[]).map(String)
      if (!this.#options.members().has(gateway)) return
      const wanted = new Set([...filters.filter((filter) => !told.del.has(filter)), ...told.add])
      for (const filter of this.#filters.get(gateway) ?? []) if (!wanted.has(filter)) this.#leave(gateway, filter)
      for (const filter of wanted) this.#want(gateway, filter)
    } finally {
      if (this.#loading.get(gateway) === told) this.#loading.delete(gateway)
    }
  }

  /** A gateway was removed. */
  forget (gateway: string): void {
    this.answered(gateway)
    for (const filter of [...this.#filters.get(gateway) ?? []]) this.#leave(gateway, filter)
    this.#filters.delete(gateway)
  }

  /** @param topic - `vital/{device}`; true may be wrong, false never is */
  isWatched (topic: string): boolean {
    return this.#watched.has(topic)
  }

  /** Gateways with subscribers of each filter that a message on `topic` matches. */
  matching (topic: string): ReadonlyArray<ReadonlyMap<string, Wanted>> {
    return this.#tree.matchTopic(topic)
  }

  #schedule (): void {
    if (this.#next !== null) return
    const pending = new Promise<void>((resolve) => {
      this.#next = () => {
        this.#pending.delete(pending)
        resolve()
      }
    })
    this.#pending.add(pending)
    if (!this.#isAnnouncing) setImmediate(() => { this.#run().catch(() => {}) })
  }

  /** Announces until nothing is new. */
  async #run (): Promise<void> {
    if (this.#isAnnouncing) return
    this.#isAnnouncing = true
    while (this.#next !== null) {
      const settle = this.#next
      this.#next = null
      const add = [...this.#added]
      const del = [...this.#removed]
      this.#added = new Set()
      this.#removed = new Set()
      try {
        await this.#announce(add, del, settle)
      } catch (error) {
        this.#options.logger.debug({ err: error }, 'subscriptions were not announced')
        for (const filter of del) if (!this.#own.has(filter)) this.#removed.add(filter)
        for (const filter of add) if (this.#own.has(filter)) this.#added.add(filter)
        settle()
        this.#announceLater()
      }
    }
    this.#isAnnouncing = false
  }

  /** Redis may have refused it while the link is up. Once the link comes up again, all are announced. */
  #announceLater (): void {
    const { link, resendIntervalMs } = this.#options
    this.#again ??= setTimeout(() => {
      this.#again = null
      if (link.isUp && this.#added.size + this.#removed.size > 0) this.#schedule()
    }, resendIntervalMs).unref()
  }

  async #announce (add: readonly string[], del: readonly string[], settle: () => void): Promise<void> {
    const { link, members, onLost } = this.#options
    if (!link.isUp) throw new Error('Redis is away')
    const list = await link.call('EVAL', ANNOUNCE, 0, members().self, add.length, ...add, ...del)
    if (list === null) {
      onLost()
      throw new Error('this gateway is not registered')
    }
    members().take(list)
    const waiting: Waiting = {
      version: ++this.#version, add, del, gateways: new Set(members().live), sentAtMs: performance.now(), settle
    }
    // A dead gateway is told too: it may only have been frozen.
    for (const gateway of members().all) this.#tell(gateway, waiting)
    // A removal is not waited for: a gateway that does not know it sends too much for a while.
    if (waiting.gateways.size === 0 || add.length === 0) settle()
    else this.#waiting.set(waiting.version, waiting)
  }

  #tell (gateway: string, { version, add, del }: Pick<Waiting, 'version' | 'add' | 'del'>): void {
    this.#options.outbox.add(gateway, { t: 'i', v: version, add, del })
  }

  #settle ({ version, settle }: Waiting): void {
    this.#waiting.delete(version)
    settle()
  }

  #want (gateway: string, filter: string): void {
    const filters = this.#filters.get(gateway) ?? new Set()
    this.#filters.set(gateway, filters.add(filter))
    const topicFilter = toShare(filter)?.filter ?? filter
    let gateways = this.#tree.get(topicFilter)
    if (gateways === undefined) {
      gateways = new Map()
      this.#tree.set(topicFilter, gateways)
    }
    const wanted = gateways.get(gateway) ?? { isPlain: false, shares: new Set<string>() }
    gateways.set(gateway, wanted)
    if (topicFilter === filter) wanted.isPlain = true
    else wanted.shares.add(filter)
    this.#watched.add(topicFilter, `${gateway} ${filter}`)
  }

  #leave (gateway: string, filter: string): void {
    if (this.#filters.get(gateway)?.delete(filter) !== true) return
    const topicFilter = toShare(filter)?.filter ?? filter
    this.#watched.remove(topicFilter, `${gateway} ${filter}`)
    const gateways = this.#tree.get(topicFilter)
    const wanted = gateways?.get(gateway)
    if (gateways === undefined || wanted === undefined) return
    if (topicFilter === filter) wanted.isPlain = false
    else wanted.shares.delete(filter)
    if (wanted.isPlain || wanted.shares.size > 0) return
    gateways.delete(gateway)
    if (gateways.size === 0) this.#tree.delete(topicFilter)
  }
}
