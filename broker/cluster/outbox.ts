/**
 * What this gateway writes to the streams of others, in one order.
 *
 * Messages for one gateway share an entry until it is full, or until a notice of another kind follows. One pipeline is
 * under way at a time. One that fails is sent again as it was: its entries have numbers, by which their readers leave
 * out what came twice, and notice what did not come.
 */
import type { Logger } from 'pino'
import type { PublishedMessage } from '../deliver/fan-out.ts'
import { createLogThrottle } from '../log-throttle.ts'
import { encodeFrame, type Notice, type RoutedHeader, toMessageHeader } from './frame.ts'
import { KEYS } from './keys.ts'
import type { ClusterLimits } from './limits.ts'
import type { RedisLink } from './redis-link.ts'

interface Entry {
  readonly gateway: string
  readonly notice: Notice
  /** Of the messages, which `notice` tells. */
  readonly messages: RoutedHeader[] | null
  readonly bodies: Buffer[]
  bytes: number
  /** Encoded for the first attempt. */
  frame: Buffer | null
}

interface OutboxOptions {
  readonly link: Pick<RedisLink, 'isUp' | 'pipeline'>
  readonly self: () => string
  readonly limits: Pick<ClusterLimits, 'outboxBytesMax' | 'entryBytesMax' | 'pipelineBytesMax' | 'streamEntriesMax'>
  readonly logger: Logger
}

/** Of an entry beside its messages. */
const ENTRY_BYTES = 200

/** See the top of this file. */
export class Outbox {
  readonly #options: OutboxOptions
  readonly #throttle = createLogThrottle({ intervalMs: 10_000 })
  #entries: Entry[] = []
  /** The last entry of each gateway, while messages may join it. */
  readonly #open = new Map<string, Entry>()
  /** Numbers of the last entries, by gateway. */
  readonly #numbers = new Map<string, number>()
  /** Gateways whose next entry leaves a number out, because a message for it was dropped. */
  readonly #skipped = new Set<string>()
  #bytes = 0
  #isFlushing = false
  #isScheduled = false
  #settled: Array<() => void> = []
  /** Since the start. */
  sent = 0
  dropped = 0

  constructor (options: OutboxOptions) {
    this.#options = options
  }

  get bytes (): number {
    return this.#bytes
  }

  /** A notice that is not lost to the bound: there are few. */
  add (gateway: string, notice: Notice): void {
    this.#open.delete(gateway)
    this.#push({ gateway, notice, messages: null, bodies: [], bytes: ENTRY_BYTES + JSON.stringify(notice).length, frame: null })
  }

  /** @param shares - shared subscriptions that the gateway has the turn of */
  addMessage (gateway: string, number: number, message: PublishedMessage, shares: readonly string[] | undefined): void {
    const { outboxBytesMax, entryBytesMax } = this.#options.limits
    const { header, bodies } = toMessageHeader(message)
    const bytes = ENTRY_BYTES + message.topic.length * 2 + bodies.reduce((sum, { length }) => sum + length, 0)
    if (this.#bytes + bytes > outboxBytesMax) return this.#drop(gateway)
    const { clientId } = message
    const routed: RoutedHeader = {
      ...header, n: number, ...(clientId !== undefined && { c: clientId }), ...(shares !== undefined && { s: shares })
    }
    // The chunk of the publisher is free again before the entry is written.
    const copies = bodies.map((body) => Buffer.from(body))
    const open = this.#open.get(gateway)
    if (open?.messages != null && open.bytes + bytes <= entryBytesMax && open.frame === null) {
      open.messages.push(routed)
      open.bodies.push(...copies)
      open.bytes += bytes
      this.#bytes += bytes
      return
    }
    const messages = [routed]
    const entry: Entry = { gateway, notice: { t: 'm', m: messages }, messages, bodies: copies, bytes, frame: null }
    this.#open.set(gateway, entry)
    this.#push(entry)
  }

  /** A gateway is no more. */
  forget (gateway: string): void {
    this.#entries = this.#entries.filter((entry) => {
      if (entry.gateway !== gateway) return true
      this.#bytes -= entry.bytes
      this.dropped += entry.messages?.length ?? 0
      return false
    })
    this.#open.delete(gateway)
    this.#numbers.delete(gateway)
    this.#skipped.delete(gateway)
  }

  /** Nothing that was meant for streams of before is written: the gateway has another name now. */
  clear (): void {
    for (const gateway of new Set([...this.#numbers.keys(), ...this.#entries.map((entry) => entry.gateway)])) this.forget(gateway)
  }

  /** Settles once all that was added before is written, or was given up. */
  async settled (): Promise<void> {
    if (this.#entries.length === 0 && !this.#isFlushing) return
    await new Promise<void>((resolve) => { this.#settled.push(resolve) })
  }

  /** Writes what waits. */
  flush (): void {
    // eslint-disable-next-line @typescript-eslint/no-floating-promises -- it does not reject
    this.#run()
  }

  #push (entry: Entry): void {
    this.#entries.push(entry)
    this.#bytes += entry.bytes
    if (this.#isScheduled || this.#isFlushing) return
    this.#isScheduled = true
    // What is published in one turn leaves together.
    setImmediate(() => {
      this.#isScheduled = false
      this.flush()
    })
  }

  async #run (): Promise<void> {
    if (this.#isFlushing) return
    this.#isFlushing = true
    try {
      while (this.#entries.length > 0 && this.#options.link.isUp) await this.#write(this.#take())
    } catch (error) {
      this.#options.logger.debug({ err: error }, 'messages for other gateways wait for Redis')
    } finally {
      this.#isFlushing = false
    }
    if (this.#entries.length === 0) for (const resolve of this.#settled.splice(0)) resolve()
  }

  #take (): Entry[] {
    const { pipelineBytesMax } = this.#options.limits
    let bytes = 0
    let count = 0
    for (const entry of this.#entries) {
      if (count > 0 && bytes + entry.bytes > pipelineBytesMax) break
      bytes += entry.bytes
      count++
      entry.frame ??= this.#encode(entry)
      if (this.#open.get(entry.gateway) === entry) this.#open.delete(entry.gateway)
    }
    return this.#entries.slice(0, count)
  }

  #encode ({ gateway, notice, bodies }: Entry): Buffer {
    const k = (this.#numbers.get(gateway) ?? 0) + (this.#skipped.delete(gateway) ? 2 : 1)
    this.#numbers.set(gateway, k)
    return encodeFrame({ ...notice, o: this.#options.self(), k }, bodies)
  }

  async #write (entries: readonly Entry[]): Promise<void> {
    const { link, limits } = this.#options
    const replies = await link.pipeline(entries.map(({ gateway, frame }) =>
      // A stream is made by its reader: that of a gateway that is no more must not come back.
      ['XADD', KEYS.stream(gateway), 'NOMKSTREAM', 'MAXLEN', '~', limits.streamEntriesMax, '*', 'e', frame!]))
    const written = new Set(entries)
    this.#entries = this.#entries.filter((entry) => !written.has(entry))
    for (const [at, { bytes, messages, gateway }] of entries.entries()) {
      this.#bytes -= bytes
      const reply = replies[at]
      const count = messages?.length ?? 0
      if (reply instanceof Error || reply === null) {
        this.dropped += count
        if (reply !== null) this.#tell(gateway, (reply as Error).message)
      } else this.sent += count
    }
  }

  #drop (gateway: string): void {
    this.dropped++
    this.#skipped.add(gateway)
    this.#tell(gateway, 'Redis takes them too slowly, or not at all')
  }

  #tell (gateway: string, reason: string): void {
    this.#throttle((leftOut) => {
      this.#options.logger.warn({ gateway, reason, leftOut }, 'messages for subscribers of another gateway were dropped')
    })
  }
}
