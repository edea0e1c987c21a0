/**
 * The sessions of a dead gateway go to a live one.
 *
 * A lock in Redis gives them to one gateway. It reads each session, subscribes to the filters of the session, and sets
 * aside the messages that are published for it. Once every live gateway knows of these subscriptions, it delivers the
 * rest of the dead gateway's stream to the sessions, to each from the position at which it was last written. Behind
 * these messages come those that were set aside and were not in the stream. Then the wills that are due are published
 * (wills/orphaned-wills.ts). Only then is each session taken in Redis, in one step with all that it has now. If this
 * gateway is killed before, the next one finds everything else where it was. At the end the dead gateway is removed from
 * Redis, and others stop writing to it.
 *
 * A gateway that dies loses what its own clients published for its sessions within `saveDelayMs` before its end, and
 * messages that it had not yet written to others.
 */
import type { Logger } from 'pino'
import { LiveFilters, isOwn, toRecipients } from '../deliver/live-filters.ts'
import type { ClusterParts } from '../cluster.ts'
import { isOfDevice } from '../topics.ts'
import { ownCopy, ownProperties } from '../session/delivery.ts'
import type { CurrentPassage } from '../session/held-deliveries.ts'
import type { Session } from '../session/session.ts'
import { decodeFrame, type Frame, type RoutedHeader, toMessage } from './frame.ts'
import { compareIds } from './inbox.ts'
import { KEYS } from './keys.ts'
import type { ClusterLimits } from './limits.ts'
import type { Members } from './members.ts'
import type { RedisLink, Reply } from './redis/redis-link.ts'
import { FORGET, LOCK_ADOPTION, REMOVE } from './scripts.ts'
import type { SessionStore } from './session-store.ts'
import { decodeRecord, type StoredRecord, type StoredSession } from './stored-session.ts'
import { OrphanedWills } from './wills/orphaned-wills.ts'

interface AdoptionOptions {
  readonly link: Pick<RedisLink, 'isUp' | 'call' | 'pipeline'>
  readonly members: Pick<Members, 'self' | 'dead' | 'has' | 'renew' | 'isLive'>
  readonly store: SessionStore
  readonly passage: CurrentPassage
  readonly whenKnown: () => Promise<void> | null
  /** Settles once all that this gateway has for others is written. */
  readonly written: () => Promise<void>
  readonly parts: () => Pick<ClusterParts, 'sessions' | 'connections' | 'wills'>
  readonly limits: Pick<ClusterLimits, 'commandTimeoutMs'>
  /** Forgets what was prepared for a session that the dead gateway was about to give. */
  readonly drop: (clientId: string) => void
  /** Earliest start, by `performance.now()`: after an outage of Redis the other gateways come back one by one. */
  readonly notBeforeMs: () => number
  readonly logger: Logger
}

/** Clients that are taken in one pipeline, and entries that are read at once. */
const CLIENTS_AT_ONCE = 200
const ENTRIES_AT_ONCE = 256
/** Life of the lock, longer than an adoption takes; after it another gateway may try. */
const LOCK_MS = 30_000
const POLL_MS = 100
const DONE_POLL_MS = 5

interface Adopted {
  /** `null`: this gateway has a session of the client already, or no room for it. */
  readonly session: Session | null
  readonly stored: StoredSession
  /** As Redis has it. */
  readonly epoch: number
}

/** How far an adoption has come: one that Redis interrupts goes on from there. */
interface Progress {
  /** Clients of the dead gateway that are not read yet. */
  readonly due: Set<string>
  readonly adopted: Map<string, Adopted>
  readonly wills: OrphanedWills
  /** The last entry of its stream that was delivered; `null`: none. */
  after: string | null
  /** Numbers of the last messages in it, by the gateway that published them. */
  readonly seen: Map<string, number>
}

/** See the top of this file. */
export class Adoption {
  readonly #options: AdoptionOptions
  readonly #underWay = new Map<string, Promise<void>>()
  readonly #progress = new Map<string, Progress>()
  /** Sessions that were adopted here. */
  adopted = 0

  constructor (options: AdoptionOptions) {
    this.#options = options
  }

  get isUnderWay (): boolean {
    return this.#progress.size > 0
  }

  /** Settles once no adoption is under way here; `null`: none is. */
  whenDone (): Promise<void> | null {
    return this.isUnderWay ? this.#done() : null
  }

  async #done (): Promise<void> {
    while (this.isUnderWay) await sleep(DONE_POLL_MS)
  }

  /** Adopts what dead gateways have left. */
  lookAround (): void {
    const { members, link } = this.#options
    for (const gateway of [...this.#progress.keys()]) {
      // Redis was emptied, or another gateway has finished.
      if (link.isUp && !members.has(gateway) && !this.#underWay.has(gateway)) this.#abandon(gateway)
    }
    for (const gateway of this.#options.members.dead) {
      // eslint-disable-next-line @typescript-eslint/no-floating-promises -- it does not reject
      this.#attempt(gateway)
    }
  }

  /** Settles once a dead gateway is removed, by whichever gateway has adopted its sessions. */
  async settled (gateway: string): Promise<void> {
    const { members, link } = this.#options
    while (link.isUp) {
      if (!await members.renew() || !members.has(gateway) || members.isLive(gateway)) return
      await this.#attempt(gateway)
      if (members.has(gateway)) await sleep(POLL_MS)
    }
  }

  #attempt (gateway: string): Promise<void> {
    const { link, notBeforeMs, logger } = this.#options
    const underWay = this.#underWay.get(gateway)
    if (underWay !== undefined) return underWay
    if (!link.isUp || performance.now() < notBeforeMs()) return Promise.resolve()
    const attempt = this.#adopt(gateway).catch((error: unknown) => {
      logger.warn({ err: error, gateway }, 'the sessions of a dead gateway are not adopted yet')
    }).finally(() => { this.#underWay.delete(gateway) })
    this.#underWay.set(gateway, attempt)
    return attempt
  }

  async #adopt (gateway: string): Promise<void> {
    const { link, members, store, whenKnown, written, logger } = this.#options
    if (!await this.#lock(gateway) || !await this.#isDead(gateway)) return this.#abandon(gateway)
    const progress = this.#progress.get(gateway) ?? this.#begin(gateway)
    await this.#read(gateway, progress)
    await whenKnown()
    await written()
    await this.#readRest(gateway, progress)
    await progress.wills.publishDue()
    if (!await this.#lock(gateway)) return this.#abandon(gateway)
    this.#release(gateway, progress)
    await store.flush()
    // Its record and the stream are the only copy of a session that is not written yet.
    for (const from of store.adopting.values()) if (from === gateway) throw new Error('Redis has not taken all sessions')
    // A gateway that noticed the death later may have given it turns of shared subscriptions.
    await this.#readRest(gateway, progress, { isSharedAlone: true })
    await store.flush()
    await link.call('EVAL', REMOVE, 0, gateway)
    await members.renew()
    this.adopted += progress.adopted.size
    const counts = { sessions: progress.adopted.size, wills: progress.wills.taken }
    logger.warn({ gateway, ...counts }, 'a gateway is dead; its sessions are adopted')
  }

  #begin (gateway: string): Progress {
    const { link, members, parts, limits } = this.#options
    const wills = new OrphanedWills({ link, members, gateway, parts, patienceMs: limits.commandTimeoutMs })
    const progress: Progress = { due: new Set(), adopted: new Map(), wills, after: null, seen: new Map() }
    this.#progress.set(gateway, progress)
    return progress
  }

  /** Ends holding, and takes the sessions with the next write. */
  #release (gateway: string, { adopted, wills, seen }: Progress): void {
    const { store } = this.#options
    this.#progress.delete(gateway)
    for (const [clientId, { session, epoch }] of adopted) {
      session?.release(({ origin, number }) => number > (seen.get(origin) ?? 0))
      // This gateway took the session for a client that connected while Redis was away.
      if (store.owned.has(clientId)) store.changed(clientId)
      else store.adopt(clientId, epoch + 1, gateway)
    }
    wills.waitHere()
  }

  /** Ends an adoption whose sessions belong to another gateway. */
  #abandon (gateway: string): void {
    const { store, parts } = this.#options
    const progress = this.#progress.get(gateway)
    this.#progress.delete(gateway)
    for (const [clientId, { session }] of progress?.adopted ?? []) {
      if (store.owned.has(clientId)) session?.release(() => true)
      else if (session !== null) parts().sessions.surrender(clientId)
    }
  }

  /** Takes or renews the lock, so that only one gateway adopts. */
  async #lock (gateway: string): Promise<boolean> {
    const { link, members } = this.#options
    return await link.call('EVAL', LOCK_ADOPTION, 0, members.self, gateway, LOCK_MS) === 1
  }

  /** False when the gateway was only slow, and has its lease again. */
  async #isDead (gateway: string): Promise<boolean> {
    const { link } = this.#options
    if (await link.call('EXISTS', KEYS.lease(gateway)) === 0) return true
    await link.call('DEL', KEYS.adoption(gateway))
    return false
  }

  /** Reads all sessions of a dead gateway. */
  async #read (gateway: string, progress: Progress): Promise<void> {
    const { link, store } = this.#options
    const { due, adopted } = progress
    for (const clientId of await link.call('SMEMBERS', KEYS.clients(gateway)) as Reply[]) due.add(String(clientId))
    while (due.size > 0) {
      const some = [...due].slice(0, CLIENTS_AT_ONCE)
      const records = await link.pipeline(some.map((clientId) => ['HGETALL', KEYS.client(clientId)]))
      const failed = records.find((record) => record instanceof Error)
      if (failed !== undefined) throw failed
      const without: string[] = []
      for (const [index, clientId] of some.entries()) {
        due.delete(clientId)
        if (adopted.has(clientId) || store.owned.has(clientId)) continue
        const record = decodeRecord(records[index] as Reply[])
        const isAdopted = record.owner === gateway && (record.session !== null || record.will !== null)
        if (isAdopted) this.#take(clientId, record, progress)
        else without.push(clientId)
      }
      if (without.length > 0) await link.pipeline(without.map((clientId) => ['EVAL', FORGET, 0, gateway, clientId]))
    }
  }

  #take (clientId: string, { session: stored, epoch, will }: StoredRecord, { adopted, wills }: Progress): void {
    const restored = stored === null ? null : this.#restore(clientId, stored, epoch)
    if (restored !== null) adopted.set(clientId, restored)
    if (will !== null) wills.note(clientId, will, restored !== null && restored.session !== null)
  }

  #restore (clientId: string, stored: StoredSession, epoch: number): Adopted {
    const { drop, parts, passage } = this.#options
    drop(clientId)
    const session = parts().sessions.restore(clientId, stored.state)
    session?.hold(passage)
    session?.restore(stored.deliveries)
    return { session, stored, epoch }
  }

  /**
   * Delivers messages of its stream that the dead gateway had not read, or whose deliveries it had not written.
   * @param isSharedAlone - delivers only turns of shared subscriptions: all other messages have come here too by now
   */
  async #readRest (gateway: string, progress: Progress, { isSharedAlone = false } = {}): Promise<void> {
    const { adopted, seen } = progress
    const { link } = this.#options
    const filters = new LiveFilters()
    const had = new Map<Session, StoredSession>()
    for (const { session, stored } of adopted.values()) {
      if (session === null) continue
      for (const [filter, subscription] of session.filters) filters.add(filter, session, subscription)
      had.set(session, stored)
    }
    const from = progress.after ?? (await link.call('GET', KEYS.position(gateway)) as Buffer | null)?.toString()
    let after = from === undefined ? '-' : `(${from}`
    for (;;) {
      const entries = await link.call('XRANGE', KEYS.stream(gateway), after, '+', 'COUNT', ENTRIES_AT_ONCE) as Reply[]
      if (entries.length === 0) return
      for (const [id, fields] of entries as unknown as Array<[Buffer, Buffer[]]>) {
        const bytes = fields[1]!
        progress.after = id.toString()
        after = `(${progress.after}`
        if (bytes.length > 0) deliverEntry(bytes, { id: id.toString(), filters, had, seen, isSharedAlone })
      }
    }
  }
}

interface Rest {
  readonly id: string
  readonly filters: LiveFilters
  readonly had: ReadonlyMap<Session, StoredSession>
  readonly seen: Map<string, number>
  readonly isSharedAlone: boolean
}

function deliverEntry (bytes: Buffer, rest: Rest): void {
  const { header, bodies } = decodeFrame(bytes)
  const frame = header as Frame
  if (frame.t === 'erase') {
    for (const session of rest.had.keys()) session.drop((topic) => isOfDevice(topic, frame.device))
  }
  if (frame.t !== 'm') return
  let at = 0
  for (const routed of frame.m) {
    const { message, end } = toMessage(routed, bodies, at)
    at = end
    // Messages of the second pass come here as well, and may not have come yet.
    if (!rest.isSharedAlone) rest.seen.set(frame.o, routed.n)
    deliverRest(message, frame.o, routed, rest)
  }
}

/** Delivers one message to those sessions that were written before it came. */
function deliverRest (
  message: ReturnType<typeof toMessage>['message'], origin: string, { n, c, s = [] }: RoutedHeader, rest: Rest
): void {
  const { id, filters, had, isSharedAlone } = rest
  const { topic, payload, properties, qos: publishedQoS, retain } = message
  const found = filters.matching(topic)
  const due = isSharedAlone ? [] : [...toRecipients(found, c)].filter(([session, subscription]) => !isOwn(session, subscription, c))
  for (const { filter, groups } of found) {
    for (const [name, group] of groups ?? []) {
      const member = s.includes(`$share/${name}/${filter}`) ? group.next() : null
      if (member !== null) due.push([...member])
    }
  }
  for (const [session, { qos: granted, identifiers, retainAsPublished }] of due) {
    const qos = Math.min(granted, publishedQoS)
    const { position, seen } = had.get(session)!
    // A session that was handed over, and not written since, has a position of another stream.
    const isHad = seen === null ? compareIds(position, id) >= 0 : n <= (seen[origin] ?? 0)
    if (qos === 0 || isHad) continue
    const kept = { topic, payload: ownCopy(payload), properties: ownProperties(properties) }
    session.deliver(kept, qos === 2 ? 2 : 1, { isRetained: retain && retainAsPublished, identifiers }, true)
  }
}

const sleep = (ms: number) => new Promise((resolve) => { setTimeout(resolve, ms) })
