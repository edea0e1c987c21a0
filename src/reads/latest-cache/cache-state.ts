/**
 * Whether the copy in Redis may be read, from what Redis and PostgreSQL tell:
 *
 * - it is complete, for this PostgreSQL and this process of Redis: `latest` was compared with it as a whole, and nothing
 *   was doubted since;
 * - every gateway that is connected to PostgreSQL says so often that it lives, and it does so only while it lacks nothing;
 * - at least one gateway does;
 * - no gateway that has died left an intent that nobody has dealt with.
 */
import type { CopyOrigin } from '../../../db/queries/copied-rows.ts'
import type { Reply } from '../../../broker/cluster/redis/redis-link.ts'
import type { CacheLimits } from './limits.ts'

/** What `BEAT` answers. */
interface Beat {
  readonly token: string
  readonly newest: number
  readonly origin: string
  readonly doubts: string
  readonly devices: number
  readonly redisMs: number
  /** Milliseconds since each gateway said that it lives. */
  readonly ages: ReadonlyMap<string, number>
  /** The same since nothing of it was missing. */
  readonly wholeAges: ReadonlyMap<string, number>
  readonly intents: readonly string[]
}

/** What stands before the name of a gateway that writes no readings, so that it is not taken for one that keeps the copy. */
const READER = '~'

/** Under which a gateway says that it lives, and writes nothing past the copy: its readings go to Kafka. */
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
  /** Gateways that are connected and silent, and since when. */
  readonly #strangers = new Map<string, number>()
  /** Of those, such as have written past the copy. */
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
      // One that has just come, or is about to be gone, is seen in one place before the other.
      if (this.#beatAtMs - sinceMs > 2 * this.#options.limits.watchIntervalMs) this.#out.add(gateway)
    }
    for (const gateway of this.#out) {
      if (this.wholeAgeOf(gateway) < this.#options.limits.silentMs) this.#out.delete(gateway)
    }
  }

  /** @param newest - version in Redis, from before PostgreSQL was asked: where its log ended then cannot lie before */
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

  /** What a complete copy is marked with; `null` where that is not known. */
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

  /** The copy is of another PostgreSQL, or of a later state of this one that was restored. */
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

  /** Silent gateways, and what they were about to write. */
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

  /** Gateways that are gone from PostgreSQL and from Redis, and left nothing. */
  get dead (): string[] {
    return this.#gone.filter((name) => !isReaderName(name))
  }

  /** Names of the same that only read. */
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

  /** To PostgreSQL, when that was last looked at. */
  isConnected (gateway: string): boolean {
    return this.#watch?.gateways.includes(gateway) ?? true
  }

  /** Gateways that wrote past the copy and are gone: nobody knows what. */
  get departed (): string[] {
    return [...this.#out].filter((gateway) => !this.isConnected(gateway))
  }

  /** Another gateway keeps the copy. */
  get hasOthers (): boolean {
    const { name: own, limits: { outMs } } = this.#options
    return [...this.#beat?.wholeAges ?? []].some(([name, age]) => name !== own && !isReaderName(name) && age < outMs)
  }

  /** Some gateway does; without any, changes by other programs would not be noticed. */
  get isKept (): boolean {
    const { name, limits } = this.#options
    return this.hasOthers || (this.#beat?.wholeAges.get(name) ?? Infinity) < limits.outMs
  }

  forget (gateway: string): void {
    this.#out.delete(gateway)
  }

  /** What others wrote is in the copy, or soon will be. */
  get isTrusted (): boolean {
    const { orphanMs } = this.#options.limits
    const isAbandoned = this.#orphanedSinceMs !== null && performance.now() - this.#orphanedSinceMs > orphanMs
    return this.isFresh && this.isKept && this.isComplete && !this.isForeign && !isAbandoned && this.strangers.length === 0
  }

  /** Infinite for one that never said that it lives. */
  ageOf (gateway: string): number {
    return toAge(this.#beat?.ages, gateway)
  }

  /** The same for one that never said that it lacks nothing. */
  wholeAgeOf (gateway: string): number {
    return toAge(this.#beat?.wholeAges, gateway)
  }

  /** When it was last heard of, something of it was missing. */
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
