/**
 * Reads this gateway's own stream, on a connection of its own, because a read blocks.
 *
 * A read continues behind the last entry that was handled. Each gateway numbers the entries that it writes here: an
 * entry that has come before is skipped, a missing number is a gap. Redis drops the oldest entries of a stream that is
 * not read. A Redis that was emptied has lost all of them.
 */
import type { Logger } from 'pino'
import { createLogThrottle } from '../log-throttle.ts'
import { decodeFrame, type Frame } from './frame.ts'
import { KEYS } from './keys.ts'
import type { RedisLink, Reply } from './redis/redis-link.ts'
import { RefusedReads } from './redis/refused-reads.ts'

const ENTRIES_AT_ONCE = 256
const FIRST_POSITION = '0-0'

export interface InboxOptions {
  readonly link: Pick<RedisLink, 'isUp' | 'call'>
  readonly self: () => string
  readonly blockMs: number
  /** Handles a notice, in the same turn. */
  readonly onFrame: (frame: Frame, bodies: Buffer) => void
  /** Entries are missing: what their gateway wants may be unknown. */
  readonly onGap: (gateway: string) => void
  /** The stream is not the one that was read before. */
  readonly onBroken: () => void
  readonly logger: Logger
}

/** See the top of this file. */
export class Inbox {
  readonly #options: InboxOptions
  readonly #throttle = createLogThrottle({ intervalMs: 10_000 })
  readonly #refused: RefusedReads
  /** Numbers of the last entries, by the gateway that wrote them. */
  readonly #numbers = new Map<string, number>()
  /** Which loop runs: one before a reconnect may still wait. */
  #loop = 0
  #position = FIRST_POSITION
  /** Gaps, and entries that were in them. */
  gaps = 0
  missed = 0
  /** Entries that no gateway of this version has written. */
  unreadable = 0

  constructor (options: InboxOptions) {
    this.#options = options
    this.#refused = new RefusedReads({ ...options, what: 'the stream of this gateway' })
  }

  /** The last entry that was handled. */
  get position (): string {
    return this.#position
  }

  /** Reads on, or from the beginning of another stream. */
  start ({ anew }: { readonly anew: boolean }): void {
    if (anew) {
      this.#position = FIRST_POSITION
      this.#numbers.clear()
    }
    // eslint-disable-next-line @typescript-eslint/no-floating-promises -- it does not reject
    this.#run(++this.#loop)
  }

  stop (): void {
    this.#loop++
  }

  /** A gateway was removed. */
  forget (gateway: string): void {
    this.#numbers.delete(gateway)
  }

  async #run (loop: number): Promise<void> {
    const { link } = this.#options
    try {
      // Checked whenever nothing has come: a read of a stream that was deleted or created again waits for ever.
      for (let isIdle = true; loop === this.#loop && link.isUp; isIdle = !await this.#read(loop)) {
        if (!isIdle || !await this.#isBroken()) continue
        if (loop === this.#loop) this.#options.onBroken()
        return
      }
    } catch (error) {
      // eslint-disable-next-line @typescript-eslint/no-floating-promises -- it does not reject
      this.#refused.retry(error, () => { if (loop === this.#loop) this.#run(loop) })
    }
  }

  /** Whether the stream was deleted or created again; then its ids begin below the position. */
  async #isBroken (): Promise<boolean> {
    const { link, self } = this.#options
    try {
      // Kept when entries are trimmed, so it reveals a new stream also when the stream is empty.
      const facts = await link.call('XINFO', 'STREAM', KEYS.stream(self())) as Reply[]
      const newest = facts[facts.findIndex((fact) => String(fact) === 'last-generated-id') + 1]
      return compareIds(String(newest), this.#position) < 0
    } catch (error) {
      if (error instanceof Error && /no such key/.test(error.message)) return true
      throw error
    }
  }

  /** @returns whether anything came */
  async #read (loop: number): Promise<boolean> {
    const { link, self, blockMs } = this.#options
    const key = KEYS.stream(self())
    const reply = await link.call('XREAD', 'COUNT', ENTRIES_AT_ONCE, 'BLOCK', blockMs, 'STREAMS', key, this.#position)
    if (reply === null || loop !== this.#loop) return false
    const [[, entries]] = reply as unknown as [[Buffer, Array<[Buffer, Buffer[]]>]]
    for (const [id, fields] of entries) {
      this.take(fields[1]!)
      this.#position = id.toString()
    }
    return true
  }

  /** Handles one entry. @param bytes - empty for the one that makes the stream */
  take (bytes: Buffer): void {
    if (bytes.length === 0) return
    let decoded
    try {
      decoded = decodeFrame(bytes)
    } catch {
      this.unreadable++
      return
    }
    const frame = decoded.header as Frame
    const last = this.#numbers.get(frame.o) ?? 0
    if (frame.k <= last) return
    this.#numbers.set(frame.o, frame.k)
    if (frame.k > last + 1) this.#noteGap(frame.o, frame.k - last - 1)
    this.#options.onFrame(frame, decoded.bodies)
  }

  #noteGap (gateway: string, entries: number): void {
    this.gaps++
    this.missed += entries
    this.#throttle((leftOut) => {
      this.#options.logger.warn({ gateway, entries, leftOut }, 'messages of another gateway were missed')
    })
    this.#options.onGap(gateway)
  }
}

/** Ids of stream entries: milliseconds, a dash, a number. */
export function compareIds (one: string, other: string): number {
  const [oneMs, oneNumber] = one.split('-').map(BigInt) as [bigint, bigint?]
  const [otherMs, otherNumber] = other.split('-').map(BigInt) as [bigint, bigint?]
  if (oneMs !== otherMs) return oneMs < otherMs ? -1 : 1
  const difference = (oneNumber ?? 0n) - (otherNumber ?? 0n)
  return difference < 0n ? -1 : difference > 0n ? 1 : 0
}
