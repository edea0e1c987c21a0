/**
 * Entries that this gateway writes to the streams of others, in one order.
 *
 * Messages for one gateway share an entry until it is full, or until a notice of another kind follows. They are written
 * in one pipeline with the changes of sessions (session-store.ts). So Redis has both a publish of QoS 2 and its packet
 * id, or neither. Entries of a pipeline that fails are written again as they were. By their numbers a reader skips an
 * entry that comes twice, and notices one that is missing.
 */
import type { Logger } from 'pino'
import type { PublishedMessage } from '../deliver/fan-out.ts'
import { createLogThrottle } from '../log-throttle.ts'
import { encodeFrame, type Notice, type RoutedHeader, toMessageHeader } from './frame.ts'
import type { ClusterLimits } from './limits.ts'
import type { Argument, Reply } from './redis/redis-link.ts'
import { ADD, IS_ADOPTED } from './scripts.ts'

interface Entry {
  /** Counts entries in their order. */
  readonly seq: number
  readonly gateway: string
  readonly notice: Notice
  /** Headers of its messages, the array that `notice` holds; `null` for another notice. */
  readonly messages: RoutedHeader[] | null
  readonly bodies: Buffer[]
  bytes: number
  /** Encoded for the first attempt. */
  frame: Buffer | null
}

/** Entries, and the command of each. */
export interface Batch {
  readonly entries: readonly Entry[]
  readonly commands: ReadonlyArray<[name: string, ...args: Argument[]]>
}

interface OutboxOptions {
  readonly self: () => string
  /** Starts a write of all waiting entries. */
  readonly flush: () => void
  readonly limits: Pick<ClusterLimits, 'outboxBytesMax' | 'entryBytesMax' | 'pipelineBytesMax' | 'streamEntriesMax'>
  readonly logger: Logger
}

/** Counted for an entry beside its messages. */
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
  #isScheduled = false
  #lastSeq = 0
  readonly #settled: Array<{ readonly seq: number, readonly settle: () => void }> = []
  /** Since the start. */
  sent = 0
  dropped = 0

  constructor (options: OutboxOptions) {
    this.#options = options
  }

  get bytes (): number {
    return this.#bytes
  }

  get isEmpty (): boolean {
    return this.#entries.length === 0
  }

  /** Adds a notice, which the bound in bytes does not drop: there are few. */
  add (gateway: string, notice: Notice): void {
    this.#open.delete(gateway)
    const bytes = ENTRY_BYTES + JSON.stringify(notice).length
    this.#push({ seq: ++this.#lastSeq, gateway, notice, messages: null, bodies: [], bytes, frame: null })
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
    const entry: Entry = { seq: ++this.#lastSeq, gateway, notice: { t: 'm', m: messages }, messages, bodies: copies, bytes, frame: null }
    this.#open.set(gateway, entry)
    this.#push(entry)
  }

  /** A gateway was removed. */
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
    this.#tellSettled()
  }

  /** Drops all entries, because this gateway gets a new name and numbers its entries from 1 again. */
  clear (): void {
    for (const gateway of new Set([...this.#numbers.keys(), ...this.#entries.map((entry) => entry.gateway)])) this.forget(gateway)
  }

  /** Settles once all that was added before is written, or was given up. */
  async settled (): Promise<void> {
    if (this.#entries.length === 0) return
    await new Promise<void>((resolve) => { this.#settled.push({ seq: this.#lastSeq, settle: resolve }) })
  }

  #push (entry: Entry): void {
    this.#entries.push(entry)
    this.#bytes += entry.bytes
    if (this.#isScheduled) return
    this.#isScheduled = true
    // Messages of one turn leave together.
    setImmediate(() => {
      this.#isScheduled = false
      this.#options.flush()
    })
  }

  /** Number of the last entry. */
  get lastSeq (): number {
    return this.#lastSeq
  }

  /** Whether entries up to a number wait. */
  waitsFor (seq: number): boolean {
    return (this.#entries[0]?.seq ?? Infinity) <= seq
  }

  /** The entries that are written next, of one pipeline at most. */
  take (): Batch {
    const entries = this.#take()
    const { self, limits: { streamEntriesMax } } = this.#options
    return {
      entries,
      commands: entries.map(({ gateway, frame }) => ['EVAL', ADD, 0, self(), gateway, streamEntriesMax, frame!])
    }
  }

  /** Removes what Redis has answered. Entries that it refuses while another gateway adopts stay. */
  noteReplies ({ entries }: Batch, replies: readonly Reply[]): void {
    const answers = new Map(entries.map((entry, at) => [entry, replies[at] ?? null]))
    this.#entries = this.#entries.filter((entry) => {
      const reply = answers.get(entry)
      if (reply === undefined || reply === IS_ADOPTED) return true
      this.#bytes -= entry.bytes
      const count = entry.messages?.length ?? 0
      if (reply instanceof Error || reply === null) {
        this.dropped += count
        if (reply !== null) this.#tell(entry.gateway, reply.message)
      } else this.sent += count
      return false
    })
    this.#tellSettled()
  }

  #tellSettled (): void {
    const firstSeq = this.#entries[0]?.seq ?? Infinity
    while (this.#settled[0] !== undefined && this.#settled[0].seq < firstSeq) this.#settled.shift()!.settle()
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
