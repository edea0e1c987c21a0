import type { Logger } from 'pino'
import type { Inbox } from './inbox.ts'
import type { Interest } from './interest.ts'
import type { ClusterLimits } from './limits.ts'
import type { Members } from './members.ts'
import type { Outbox } from './outbox.ts'
import type { Reclaim } from './reclaim.ts'
import { readFacts, type RedisFacts } from './redis/redis-facts.ts'
import type { RedisLink } from './redis/redis-link.ts'
import type { RetainedLog } from './retained-log.ts'
import type { SessionStore } from './session-store.ts'

/** The parts that a join starts, and that run by themselves from then on. */
export interface JoiningParts {
  readonly link: RedisLink
  readonly reader: RedisLink
  readonly retainedReader: RedisLink
  readonly members: Members
  readonly interest: Interest
  readonly outbox: Outbox
  readonly inbox: Inbox
  readonly store: SessionStore
  readonly reclaim: Reclaim
  readonly retained: RetainedLog
}

interface JoiningOptions {
  readonly parts: () => JoiningParts
  readonly limits: Pick<ClusterLimits, 'leaseMs' | 'renewIntervalMs' | 'commandTimeoutMs'>
  readonly logger: Logger
}

/**
 * Joins the other gateways whenever Redis answers: at the start, after an outage, and once Redis has lost this gateway.
 *
 * After an outage the gateway continues where it was if Redis still has its registration and its stream. If not, Redis
 * was emptied, or another gateway took this one for dead. Then it registers under a new name, takes its clients again,
 * and writes all that it has.
 */
export class Joining {
  readonly #options: JoiningOptions
  #isJoined = false
  #isStopped = false
  #isInboxNew = true
  #downSinceMs = performance.now()
  #graceUntilMs = 0
  #facts: RedisFacts | null = null
  #tail: Promise<void> = Promise.resolve()
  #mustRegister = true
  #isReplaced = false
  #term = 0

  constructor (options: JoiningOptions) {
    this.#options = options
  }

  get isJoined (): boolean {
    return this.#isJoined
  }

  /** Earliest time at which a gateway is taken for dead, by `performance.now()`. */
  get graceUntilMs (): number {
    return this.#graceUntilMs
  }

  get downForMs (): number {
    return performance.now() - this.#downSinceMs
  }

  /**
   * Whether another gateway may have adopted the sessions of this one, because it was frozen or could not reach Redis for
   * longer than its lease. False once Redis is away for longer than a command may take: this gateway goes on alone.
   */
  get isInDoubt (): boolean {
    const { parts, limits } = this.#options
    if (this.#isStopped) return false
    return (this.#isReplaced || parts().members.isLapsed) && (this.#isJoined || this.downForMs < limits.commandTimeoutMs)
  }

  /** Whether another gateway has adopted the sessions of this one, and it is registering anew. */
  get isReplaced (): boolean {
    return this.#isReplaced
  }

  /** Whether another gateway has adopted the sessions of this one, or may have. */
  get mayBeAdopted (): boolean {
    return this.#isReplaced || this.isInDoubt
  }

  /** Counts how often this gateway was replaced. */
  get term (): number {
    return this.#term
  }

  /** What Redis told of itself; `null` before the first answer. */
  get facts (): RedisFacts | null {
    return this.#facts
  }

  stop (): void {
    this.#isStopped = true
    this.#isJoined = false
  }

  /** Redis does not answer. */
  noteDown (): void {
    if (!this.#isJoined) return
    this.#downSinceMs = performance.now()
    this.#isJoined = false
    this.#options.parts().interest.giveUp()
    this.#options.logger.warn('Redis does not answer: sessions, subscriptions and retained messages are those of this gateway alone')
  }

  /** Redis answers, and does not renew the lease: it counts as away until it does. */
  noteRefused (): void {
    if (!this.#isJoined) return
    this.noteDown()
    this.join(false)
  }

  /** Redis answers; `isLost`: it does not know this gateway any more. */
  join (isLost: boolean): void {
    this.#tail = this.#tail.then(async () => {
      if (!this.#options.parts().link.isUp || this.#isStopped || (isLost && !this.#isJoined)) return
      try {
        await this.#join(isLost)
      } catch (error) {
        this.#options.logger.warn({ err: error }, 'this gateway has not joined the others yet')
        // Nothing waits for a Redis that refuses this.
        this.noteDown()
        setTimeout(() => { if (!this.#isJoined) this.join(false) }, this.#options.limits.renewIntervalMs).unref()
      }
    })
  }

  startInbox (): void {
    const { reader, inbox } = this.#options.parts()
    if (!this.#isJoined || !reader.isUp) return
    inbox.start({ anew: this.#isInboxNew })
    this.#isInboxNew = false
  }

  startRetained (): void {
    const { retainedReader, retained } = this.#options.parts()
    if (this.#isJoined && retainedReader.isUp) retained.start()
  }

  async #join (isLost: boolean): Promise<void> {
    const { logger, limits } = this.#options
    const { link, members, interest, store, reclaim, retained } = this.#options.parts()
    const before = this.#facts
    const facts = await readFacts(link)
    // After an outage the others come back one by one, and must not be taken for dead.
    if (before !== null || facts.uptimeMs < limits.leaseMs) this.#graceUntilMs = performance.now() + limits.leaseMs
    if (before === null) await retained.load()
    const wasLapsed = before !== null && members.isLapsed
    if (isLost || this.#mustRegister || !await members.renew()) {
      this.#mustRegister = true
      this.#isReplaced ||= wasLapsed
      await this.#register(before !== null, this.#isReplaced && before?.runId === facts.runId)
      this.#mustRegister = false
      if (this.#isReplaced) this.#term++
      this.#isReplaced = false
    } else if (before !== null && before.runId !== facts.runId) {
      // Redis has restarted, and lost what it had not written to its disk.
      for (const clientId of store.owned.keys()) store.rewrite(clientId)
    }
    this.#facts = facts
    this.#isJoined = true
    logger.info({ gateway: members.self, others: members.live.length }, 'joined the other gateways')
    members.start()
    interest.announceAll()
    this.startInbox()
    this.startRetained()
    retained.flush()
    await store.flush()
    await reclaim.takeUnclaimed()
  }

  /** @param areAdopted - what Redis does not have any more of this gateway was adopted: Redis was not started anew */
  async #register (isAgain: boolean, areAdopted: boolean): Promise<void> {
    const { members, interest, outbox, reclaim, retained } = this.#options.parts()
    if (isAgain) {
      this.#options.logger.warn('Redis has lost this gateway: messages of others may have been missed, and all is written anew')
    }
    outbox.clear()
    this.#isInboxNew = true
    await members.register()
    // Notices that others have sent meanwhile were in a stream that is gone.
    if (isAgain) await Promise.all(members.all.map((gateway) => interest.load(gateway)))
    await reclaim.takeAll(areAdopted)
    if (isAgain) retained.rewrite()
  }
}
