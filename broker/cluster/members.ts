import type { Logger } from 'pino'
import type { SharedStatistics } from '../cluster.ts'
import { KEYS } from './keys.ts'
import type { ClusterLimits } from './limits.ts'
import type { RedisLink, Reply } from './redis/redis-link.ts'
import { REGISTER, RENEW } from './scripts.ts'

interface MembersOptions {
  /** Unique to this process. */
  readonly id: string
  readonly link: Pick<RedisLink, 'isUp' | 'call'>
  /** Statistics of this gateway, which its lease carries. */
  readonly told: () => SharedStatistics
  readonly onJoined: (gateway: string) => void
  /** Its lease has ended. */
  readonly onDied: (gateway: string) => void
  /** Its sessions are adopted. */
  readonly onGone: (gateway: string) => void
  /** This gateway is not registered any more: it was adopted, or Redis was emptied. */
  readonly onLost: () => void
  /** Redis answers, and has not renewed the lease for as long as it lasts. */
  readonly onRefused: () => void
  readonly limits: Pick<ClusterLimits, 'leaseMs' | 'renewIntervalMs'>
  readonly logger: Logger
}

/** The gateways of a cluster, and this one among them, by their leases in Redis. */
export class Members {
  readonly #options: MembersOptions
  /** Other gateways, and what they tell; `null`: the lease has ended. */
  readonly #others = new Map<string, SharedStatistics | null>()
  #incarnation = 0
  /** When the lease that was granted last was requested, by `performance.now()`. */
  #leasedAtMs = -Infinity
  #timer: NodeJS.Timeout | null = null

  constructor (options: MembersOptions) {
    this.#options = options
  }

  /** Name of this gateway. Each registration has a new one, so that nothing of an earlier one is taken for it. */
  get self (): string {
    return `${this.#options.id}.${this.#incarnation}`
  }

  /** The lease may have ended, so another gateway may have adopted the sessions of this one. */
  get isLapsed (): boolean {
    return performance.now() - this.#leasedAtMs >= this.#options.limits.leaseMs
  }

  get all (): string[] {
    return [...this.#others.keys()]
  }

  get live (): string[] {
    return [...this.#others].flatMap(([gateway, told]) => told === null ? [] : [gateway])
  }

  get dead (): string[] {
    return [...this.#others].flatMap(([gateway, told]) => told === null ? [gateway] : [])
  }

  /** Statistics of the live gateways. */
  get tellings (): SharedStatistics[] {
    return [...this.#others.values()].filter((told) => told !== null)
  }

  isLive (gateway: string): boolean {
    return this.#others.get(gateway) != null
  }

  has (gateway: string): boolean {
    return this.#others.has(gateway)
  }

  /** Registers under a new name. */
  async register (): Promise<void> {
    this.#incarnation++
    this.take(await this.#call(REGISTER))
  }

  /** @returns false when it is not registered any more */
  async renew (): Promise<boolean> {
    const list = await this.#call(RENEW)
    if (list !== null) this.take(list)
    return list !== null
  }

  /** Renews from now on. */
  start (): void {
    this.#timer ??= setInterval(() => {
      if (!this.#options.link.isUp) return
      this.renew().then((isRegistered) => {
        if (!isRegistered && this.#timer !== null) this.#options.onLost()
      }, (error: unknown) => {
        this.#options.logger.debug({ err: error }, 'the lease was not renewed')
        if (this.isLapsed && this.#options.link.isUp && this.#timer !== null) this.#options.onRefused()
      })
    }, this.#options.limits.renewIntervalMs)
  }

  /** Ends the lease at once, so that others need not wait until it has run out. */
  async leave (): Promise<void> {
    this.stop()
    await this.#options.link.call('DEL', KEYS.lease(this.self))
  }

  stop (): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  /** Takes the list that a script has answered. */
  take (list: Reply): void {
    const { onJoined, onDied, onGone } = this.#options
    const listed = new Set<string>()
    const texts = (list as Buffer[]).map(String)
    for (let at = 0; at < texts.length; at += 2) {
      const gateway = texts[at]!
      if (gateway === this.self) continue
      listed.add(gateway)
      const told = texts[at + 1] === '' ? null : JSON.parse(texts[at + 1]!) as SharedStatistics
      const before = this.#others.get(gateway)
      this.#others.set(gateway, told)
      if (before === undefined) onJoined(gateway)
      if (told === null && before !== null) onDied(gateway)
    }
    for (const gateway of this.#others.keys()) {
      if (listed.has(gateway)) continue
      this.#others.delete(gateway)
      onGone(gateway)
    }
  }

  async #call (script: string): Promise<Reply> {
    const { link, limits, told } = this.#options
    const askedAtMs = performance.now()
    const list = await link.call('EVAL', script, 0, this.self, limits.leaseMs, JSON.stringify(told()))
    if (list !== null) this.#leasedAtMs = askedAtMs
    return list
  }
}
