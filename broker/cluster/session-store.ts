/**
 * The copy of each session in Redis, written behind.
 *
 * A session lives in the memory of its owner. Changes are noted, and written a moment later: a delivery that is
 * acknowledged by then is not written at all. Redis takes writes of the owner alone: each record has its owner and an
 * epoch that each new owner raises. An owner that finds another in its place has lost the session, and drops it.
 *
 * A written session is complete up to one entry of the owner's stream, and the id of that entry is written with it. A
 * gateway that adopts the session continues from there.
 */
import type { Logger } from 'pino'
import { createLogThrottle } from '../log-throttle.ts'
import type { Delivery } from '../session/delivery.ts'
import type { SessionJournal } from '../session/session-journal.ts'
import type { SessionState } from '../session/sessions.ts'
import type { ClusterLimits } from './limits.ts'
import type { Outbox } from './outbox.ts'
import type { Argument, RedisLink, Reply } from './redis/redis-link.ts'
import { ADOPT, DROP, IS_ADOPTED, SAVE, TRANSFER, TRIM } from './scripts.ts'
import { encodeDeliveries, encodeState } from './stored-session.ts'
import type { CopiedWills } from './wills/copied-wills.ts'

/** Changes of one client that are not written yet. */
interface Dirty {
  /** Written anew as a whole. */
  isFull: boolean
  readonly deliveries: Map<number, Delivery | null>
}

type Command = [name: string, ...args: Argument[]]

interface SessionStoreOptions {
  readonly link: Pick<RedisLink, 'isUp' | 'pipeline'>
  /** Whether Redis answers and the lease stands: messages that were routed without one must not be seen. */
  readonly mayWrite: () => boolean
  readonly outbox: Pick<Outbox, 'lastSeq' | 'waitsFor' | 'take' | 'noteReplies'>
  readonly self: () => string
  /** The last entry of this gateway's stream that was handled. */
  readonly position: () => string
  /** Whether sessions set their messages aside; until these are delivered, only the stream has them. */
  readonly isHolding: () => boolean
  /** The session of a client; `null`: nothing is kept. */
  readonly stateOf: (clientId: string) => SessionState | null
  readonly deliveriesOf: (clientId: string) => readonly Delivery[]
  readonly isConnected: (clientId: string) => boolean
  readonly copiedWills: CopiedWills
  /** Another gateway has the client. */
  readonly onLost: (clientId: string) => void
  /** Redis knows nothing of a client. */
  readonly onUnknown: (clientId: string) => void
  readonly limits: Pick<ClusterLimits, 'saveDelayMs' | 'pipelineBytesMax'>
  readonly logger: Logger
}

/** See the top of this file. */
export class SessionStore implements SessionJournal {
  readonly #options: SessionStoreOptions
  readonly #throttle = createLogThrottle({ intervalMs: 10_000 })
  readonly #epochs = new Map<string, number>()
  readonly #dirty = new Map<string, Dirty>()
  /** Deliveries that Redis has, by client. */
  readonly #stored = new Map<string, Set<number>>()
  /** Clients that Redis still has as those of a dead gateway, and that gateway. */
  readonly #adopting = new Map<string, string>()
  /** Clients whose owner is changing. */
  readonly #withheld = new Set<string>()
  #timer: NodeJS.Timeout | null = null
  #writtenPosition = ''
  #tail: Promise<unknown> = Promise.resolve()
  /** A flush that has not begun. */
  #next: Promise<void> | null = null
  #isWriting = false
  /** Why Redis does not take sessions; `null`: it does. */
  fault: string | null = null
  saved = 0

  constructor (options: SessionStoreOptions) {
    this.#options = options
  }

  /** Client ids that this gateway owns. */
  get owned (): ReadonlyMap<string, number> {
    return this.#epochs
  }

  /** Redis does not have something yet. */
  get isBehind (): boolean {
    return this.#dirty.size > 0 || this.#isWriting
  }

  noted (clientId: string, delivery: Delivery): void {
    this.#note(clientId).deliveries.set(delivery.seq, delivery)
  }

  removed (clientId: string, seq: number): void {
    this.#note(clientId).deliveries.set(seq, null)
  }

  changed (clientId: string): void {
    this.#note(clientId)
  }

  /** Redis may not have what it had. */
  rewrite (clientId: string): void {
    this.#note(clientId).isFull = true
  }

  /**
   * This gateway owns a client from now on.
   * @param deliveries - that Redis has of it; without them it is written anew
   */
  own (clientId: string, epoch: number, deliveries?: readonly Delivery[]): void {
    this.#epochs.set(clientId, epoch)
    this.#dirty.delete(clientId)
    if (deliveries === undefined) this.rewrite(clientId)
    else if (deliveries.length > 0) this.#stored.set(clientId, new Set(deliveries.map(({ seq }) => seq)))
  }

  /** This gateway owns a client of a dead gateway from the next write on, with all that its session has then. */
  adopt (clientId: string, epoch: number, from: string): void {
    this.#adopting.set(clientId, from)
    this.own(clientId, epoch)
  }

  /** Clients whose adoption is not written yet. */
  get adopting (): ReadonlyMap<string, string> {
    return this.#adopting
  }

  disown (clientId: string): void {
    this.#epochs.delete(clientId)
    this.#adopting.delete(clientId)
    this.#stored.delete(clientId)
    this.#dirty.delete(clientId)
    this.#options.copiedWills.forget(clientId)
  }

  /** Writes nothing of a client until {@link SessionStore.resume}. */
  withhold (clientId: string): void {
    this.#withheld.add(clientId)
  }

  resume (clientId: string): void {
    this.#withheld.delete(clientId)
    if (this.#dirty.has(clientId)) this.#schedule()
  }

  /** Writes all changes noted before, and all entries for other gateways. Settles also when that fails. */
  flush (): Promise<void> {
    if (this.#next !== null) return this.#next
    const next = this.#tail.then(() => {
      this.#next = null
      return this.#flush()
    })
    this.#next = this.#tail = next
    return next
  }

  /**
   * Writes a client, and gives it to another gateway in the same turn of Redis. Until then its changes are written as
   * ever: its deliveries must be in Redis whenever the packet ids of their publishers are.
   * @param seen - numbers of the last messages that its session has had, by the gateway that published them
   * @returns its epoch there; 0 when it was not this gateway's any more
   * @throws when Redis does not answer, or another gateway is about to adopt this one
   */
  async transfer (clientId: string, to: string, seen: Readonly<Record<string, number>>): Promise<number> {
    const run = this.#tail.then(async () => {
      const epoch = this.#epochs.get(clientId)
      if (epoch === undefined) return 0
      const { commands } = this.#toCommands(clientId, epoch)
      const transfer: Command = ['EVAL', TRANSFER, 0, this.#options.self(), clientId, epoch, to, JSON.stringify(seen)]
      const replies = await this.#options.link.pipeline([...commands, transfer])
      const failed = replies.find((reply) => reply instanceof Error)
      if (failed !== undefined) throw failed
      if (replies.includes(IS_ADOPTED)) throw new Error('another gateway adopts the sessions of this one')
      this.disown(clientId)
      return Number(replies.at(-1))
    })
    this.#tail = run.catch(() => {})
    try {
      return await run
    } catch (error) {
      this.rewrite(clientId)
      throw error
    }
  }

  stop (): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  #note (clientId: string): Dirty {
    let dirty = this.#dirty.get(clientId)
    if (dirty === undefined) {
      dirty = { isFull: false, deliveries: new Map() }
      this.#dirty.set(clientId, dirty)
      this.#schedule()
    }
    return dirty
  }

  #schedule (): void {
    if (this.#timer !== null || !this.#options.link.isUp) return
    this.#timer = setTimeout(() => {
      this.#timer = null
      // eslint-disable-next-line @typescript-eslint/no-floating-promises -- it does not reject
      this.flush()
    }, this.#options.limits.saveDelayMs)
  }

  async #flush (): Promise<void> {
    const { link, outbox, self, position, mayWrite } = this.#options
    const failed = new Set<string>()
    // Clients that are noted later join the end, and have a flush of their own.
    let due = Math.max(1, this.#dirty.size)
    const { lastSeq } = outbox
    while (mayWrite() && (due > 0 || outbox.waitsFor(lastSeq))) {
      const at = position()
      const forwarded = outbox.take()
      const batch = this.#takeBatch(failed)
      // This batch writes everything that was handled before, so the entries up to there are not needed any more.
      const isTrimming = at !== this.#writtenPosition && this.#isWhole()
      if (forwarded.entries.length === 0 && batch.length === 0 && !isTrimming) return
      due -= Math.max(1, batch.length)
      this.#isWriting = true
      try {
        const replies = await link.pipeline([
          ...forwarded.commands,
          ...batch.flatMap(({ commands }) => commands),
          ...isTrimming ? [['EVAL', TRIM, 0, self(), at]] as Command[] : []
        ])
        const isAdopted = replies.includes(IS_ADOPTED)
        outbox.noteReplies(forwarded, replies.splice(0, forwarded.entries.length))
        if (isTrimming && replies[batch.length] === 1) this.#writtenPosition = at
        this.#noteReplies(batch, replies, failed)
        // This gateway registers again later, or has its lease again.
        if (isAdopted) return
      } catch (error) {
        for (const { clientId } of batch) this.rewrite(clientId)
        this.#fail(error as Error)
        return
      } finally {
        this.#isWriting = false
      }
    }
  }

  /** Whether the batch that was just taken writes everything that has come of the stream. */
  #isWhole (): boolean {
    for (const clientId of this.#dirty.keys()) if (this.#epochs.has(clientId)) return false
    return !this.#options.isHolding()
  }

  /** Looks at the answer to each client's command, and to those behind them. */
  #noteReplies (batch: ReadonlyArray<{ readonly clientId: string }>, replies: readonly Reply[], failed: Set<string>): void {
    let fault = replies.slice(batch.length).find((reply) => reply instanceof Error) ?? null
    for (const [at, { clientId }] of batch.entries()) {
      const reply = replies[at]
      if (reply instanceof Error) {
        fault = reply
        failed.add(clientId)
        this.rewrite(clientId)
      } else if (reply === IS_ADOPTED) this.rewrite(clientId)
      // A client of a dead gateway that Redis does not know has ended its session elsewhere.
      else if (reply === 0 || (reply === -1 && this.#adopting.has(clientId))) {
        this.disown(clientId)
        this.#options.onLost(clientId)
      } else if (reply === -1 && this.#epochs.has(clientId)) {
        this.disown(clientId)
        this.#options.onUnknown(clientId)
      } else {
        this.#adopting.delete(clientId)
        this.saved++
      }
    }
    if (fault === null) this.fault = null
    else this.#fail(fault)
  }

  #fail ({ message }: Error): void {
    this.fault = message
    this.#throttle((leftOut) => {
      this.#options.logger.warn({ reason: message, leftOut }, 'sessions are not written to Redis')
    })
  }

  #takeBatch (failed: ReadonlySet<string>): Array<{ clientId: string, commands: Command[] }> {
    const batch: Array<{ clientId: string, commands: Command[] }> = []
    let bytes = 0
    for (const clientId of [...this.#dirty.keys()]) {
      if (bytes >= this.#options.limits.pipelineBytesMax) break
      // A claim of it waits for its adoption.
      const isWithheld = this.#withheld.has(clientId) && !this.#adopting.has(clientId)
      if (isWithheld || failed.has(clientId)) continue
      const epoch = this.#epochs.get(clientId)
      if (epoch === undefined) {
        // It is written in full once this gateway owns it in Redis.
        this.#dirty.delete(clientId)
        continue
      }
      const taken = this.#toCommands(clientId, epoch)
      batch.push({ clientId, commands: taken.commands })
      bytes += taken.bytes
    }
    return batch
  }

  /** @returns one command, and its bytes. The changes that were noted count as written. */
  #toCommands (clientId: string, epoch: number): { commands: Command[], bytes: number } {
    const { self, position, stateOf, isConnected, deliveriesOf, copiedWills } = this.#options
    const { isFull = false, deliveries = new Map<number, Delivery | null>() } = this.#dirty.get(clientId) ?? {}
    this.#dirty.delete(clientId)
    const state = stateOf(clientId)
    const from = this.#adopting.get(clientId)
    if (state === null && !isConnected(clientId) && copiedWills.of(clientId) === null) {
      this.disown(clientId)
      const drop: Command = from === undefined
        ? ['EVAL', DROP, 0, self(), clientId, epoch]
        : ['EVAL', ADOPT, 0, self(), clientId, epoch, from, 1]
      return { commands: [drop], bytes: DROP.length }
    }
    const isAnew = isFull || state === null || from !== undefined
    const stored = isAnew ? new Set<number>() : this.#stored.get(clientId) ?? new Set<number>()
    const changes = isAnew ? deliveriesOf(clientId).map((delivery) => [delivery.seq, delivery] as const) : deliveries
    const written = encodeDeliveries(changes, stored)
    const will = copiedWills.take(clientId, isAnew)
    const session = state === null ? [] : ['m', encodeState(state), 's', position()]
    const fields = [...session, ...will.fields, ...written.fields]
    const deleted = [...will.deleted, ...written.deleted]
    if (stored.size > 0) this.#stored.set(clientId, stored)
    else this.#stored.delete(clientId)
    const bytes = SAVE.length + fields.reduce<number>((sum, field) => sum + (typeof field === 'number' ? 8 : field.length), 0)
    if (from !== undefined) return { commands: [['EVAL', ADOPT, 0, self(), clientId, epoch, from, 0, ...fields]], bytes }
    const save: Command = ['EVAL', SAVE, 0, self(), clientId, epoch, isAnew ? 1 : 0, deleted.length, ...deleted, ...fields]
    return { commands: [save], bytes }
  }
}
