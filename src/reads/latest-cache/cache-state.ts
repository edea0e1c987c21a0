/**
 * Whether the copy in Redis may be read, by the answers of Redis and PostgreSQL:
 *
 * - it is complete, for this PostgreSQL and this process of Redis: `latest` was compared with it as a whole, and it was
 *   not doubted since;
 * - every gateway that is connected to PostgreSQL reports often enough that it lives and lacks nothing in the copy;
 * - at least one gateway reports so;
 * - every intent that a dead gateway left has been dealt with.
 */
import type { CopyOrigin } from '../../../db/queries/copied-rows.ts'
import type { Reply } from '../../../broker/cluster/redis/redis-link.ts'
import type { CacheLimits } from './limits.ts'

/** The answer of `BEAT`. */
interface Beat {
  readonly token: string
  readonly newest: number
  readonly origin: string
  readonly doubts: string
  readonly devices: number
  readonly redisMs: number
  /** Milliseconds since each gateway last reported that it lives. */
  readonly ages: ReadonlyMap<string, number>
  /** The same since it last reported that it lacks nothing. */
  readonly wholeAges: ReadonlyMap<string, number>
  readonly intents: readonly string[]
}

/** Prefix of the name of a gateway that writes no readings, so that it does not count as one that keeps the copy. */
const READER = '~'

/** The name under which a gateway reports that writes nothing past the copy, because its readings go to Kafka. */
export const toReaderName = (gateway: string) => READER + gateway
const isReaderName = (name: string) => name.startsWith(READER)

interface CacheStateOptions {
  /** Of this process. */
  readonly name: string
  readonly runId: () => string | null
  readonly limits: CacheLimits
}

export class CacheState {
  readonly #options: CacheStateOptions
  #beat: Beat | null = null
  #beatAtMs = -Infinity
  #watch: CopyOrigin | null = null
  #watchAtMs = -Infinity
  #isAhead = false
  #orphanedSinceMs: number | null = null
  /** Gateways that are connected and silent, and the time since which each is. */
  readonly #strangers = new Map<string, number>()
  /** Those of them that count as having written past the copy. */
  readonly #out = new Set<string>()

  constructor (options: CacheStateOptions) {
    this.#options = options
  }

  noteBeat (reply: Reply): void {
    this.#beat = toBeat(reply as Reply[])
    this.#beatAtMs = performance.now()
    if (this.orphans.size === 0) this.#orphanedSinceMs = null
    else this.#orphanedSinceMs ??= this.#beatAtMs
    const { strangers } = this
    for (const gateway of this.#strangers.keys()) if (!strangers.includes(gateway)) this.#strangers.delete(gateway)
    for (const gateway of strangers) {
      const sinceMs = this.#strangers.get(gateway) ?? this.#beatAtMs
      this.#strangers.set(gateway, sinceMs)
      // PostgreSQL and Redis see a gateway come or go at different times.
      if (this.#beatAtMs - sinceMs > 2 * this.#options.limits.watchIntervalMs) this.#out.add(gateway)
    }
    for (const gateway of this.#out) {
      if (this.wholeAgeOf(gateway) < this.#options.limits.silentMs) this.#out.delete(gateway)
    }
  }

  /** @param newest - version in Redis, read before PostgreSQL was asked: the end of its log cannot lie before that */
  noteWatch (watch: CopyOrigin, newest: number): void {
    this.#watch = watch
    this.#watchAtMs = performance.now()
    this.#isAhead = newest > watch.version
  }

  /** Redis was emptied by us. */
  noteEmptied (): void {
    this.#beat = null
    this.#isAhead = false
  }

  get beat (): Beat | null {
    return this.#beat
  }

  /** The mark of a complete copy; `null` where it is not known. */
  get token (): string | null {
    const runId = this.#options.runId()
    return runId === null || this.#watch === null ? null : `${this.#watch.origin} ${runId}`
  }

  get origin (): string | null {
    return this.#watch?.origin ?? null
  }

  get isFresh (): boolean {
    const since = performance.now() - this.#options.limits.staleMs
    return this.#beatAtMs > since && this.#watchAtMs > since
  }

  get isComplete (): boolean {
    return this.token !== null && this.#beat?.token === this.token
  }

  /** The copy is of another PostgreSQL, or of a later state of this one, which was restored since. */
  get isForeign (): boolean {
    if (this.#beat === null || this.#watch === null) return false
    return this.#isAhead || this.#beat.origin !== this.#watch.origin
  }

  /** Many rows were added or deleted by hand. */
  get isOutnumbered (): boolean {
    if (this.#beat === null || this.#watch === null || !this.isComplete) return false
    return Math.abs(this.#beat.devices - this.#watch.devices) > this.#options.limits.differenceMax
  }

  /** Gateways that are connected to PostgreSQL and write past the copy. */
  get strangers (): string[] {
    return (this.#watch?.gateways ?? []).filter((gateway) => this.wholeAgeOf(gateway) > this.#options.limits.outMs)
  }

  /** Silent gateways, and their intents. */
  get orphans (): ReadonlyMap<string, readonly string[]> {
    const found = new Map<string, string[]>()
    for (const id of this.#beat?.intents ?? []) {
      const gateway = id.slice(0, id.lastIndexOf('|'))
      if (gateway === this.#options.name || this.ageOf(gateway) < this.#options.limits.silentMs) continue
      const ids = found.get(gateway)
      if (ids === undefined) found.set(gateway, [id])
      else ids.push(id)
    }
    return found
  }

  /** Gateways that are gone from PostgreSQL and from Redis, and left no intent. */
  get dead (): string[] {
    return this.#gone.filter((name) => !isReaderName(name))
  }

  /** The same for gateways that only read. */
  get deadReaders (): string[] {
    return this.#gone.filter(isReaderName)
  }

  get #gone (): string[] {
    const { name: own, limits } = this.#options
    return [...this.#beat?.ages ?? []].flatMap(([name, age]) => {
      const gateway = isReaderName(name) ? name.slice(READER.length) : name
      return gateway !== own && age > limits.silentMs && !this.isConnected(gateway) && !this.orphans.has(gateway) ? [name] : []
    })
  }

  /** Whether it was connected to PostgreSQL at the last check. */
  isConnected (gateway: string): boolean {
    return this.#watch?.gateways.includes(gateway) ?? true
  }

  /** Gateways that count as having written past the copy, and are gone. */
  get departed (): string[] {
    return [...this.#out].filter((gateway) => !this.isConnected(gateway))
  }

  /** Another gateway keeps the copy. */
  get hasOthers (): boolean {
    const { name: own, limits: { outMs } } = this.#options
    return [...this.#beat?.wholeAges ?? []].some(([name, age]) => name !== own && !isReaderName(name) && age < outMs)
  }

  /** Some gateway keeps the copy; without any, changes by other programs would not be noticed. */
  get isKept (): boolean {
    const { name, limits } = this.#options
    return this.hasOthers || (this.#beat?.wholeAges.get(name) ?? Infinity) < limits.outMs
  }

  forget (gateway: string): void {
    this.#out.delete(gateway)
  }

  /** All rows that gateways wrote are in the copy, or soon will be. */
  get isTrusted (): boolean {
    const { orphanMs } = this.#options.limits
    const isAbandoned = this.#orphanedSinceMs !== null && performance.now() - this.#orphanedSinceMs > orphanMs
    return this.isFresh && this.isKept && this.isComplete && !this.isForeign && !isAbandoned && this.strangers.length === 0
  }

  /** Infinite for a gateway that never reported that it lives. */
  ageOf (gateway: string): number {
    return toAge(this.#beat?.ages, gateway)
  }

  /** Infinite for a gateway that never reported that it lacks nothing. */
  wholeAgeOf (gateway: string): number {
    return toAge(this.#beat?.wholeAges, gateway)
  }

  /** By its last report, something of it was missing. */
  wasLacking (gateway: string): boolean {
    return this.wholeAgeOf(gateway) > this.ageOf(gateway)
  }
}

/** Of a gateway, whether it writes or only reads. */
function toAge (ages: ReadonlyMap<string, number> | undefined, gateway: string): number {
  return ages?.get(gateway) ?? ages?.get(toReaderName(gateway)) ?? Infinity
}

function toBeat (reply: readonly Reply[]): Beat {
  const [token, newest, origin, doubts, devices, redisMs, ages, wholeAges, intents] = reply
  return {
    token: String(token),
    newest: Number(newest),
    origin: String(origin),
    doubts: String(doubts),
    devices: Number(devices),
    redisMs: Number(redisMs),
    ages: toAges(ages as Reply[]),
    wholeAges: toAges(wholeAges as Reply[]),
    intents: (intents as Reply[]).map(String)
  }
}

function toAges (pairs: readonly Reply[]): Map<string, number> {
  const ages = new Map<string, number>()
  for (let at = 0; at < pairs.length; at += 2) ages.set(String(pairs[at]), Number(pairs[at + 1]))
  return ages
}
