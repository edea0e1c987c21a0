/**
 * The sessions of a dead gateway go to a live one.
 *
 * A lock in Redis gives them to one gateway. It takes each session, subscribes to what the session wants, and sets aside
 * what is published for it. Once every live gateway knows of that, it reads the rest of the dead gateway's stream, from
 * where each session was written to its end, into the sessions; behind it come those messages that were set aside and
 * were not in the stream. Then nothing is left of the dead gateway, and others stop writing to it.
 *
 * Lost with a gateway is what its own clients published for its sessions within `saveDelayMs` before its end, and what
 * it had not yet written to others.
 */
import type { Logger } from 'pino'
import { LiveFilters, isOwn, toRecipients } from '../deliver/live-filters.ts'
import type { ClusterParts } from '../cluster.ts'
import { isOfDevice } from '../topics.ts'
import { ownCopy, ownProperties } from '../session/delivery.ts'
import type { Passage } from '../session/held-deliveries.ts'
import type { Session } from '../session/session.ts'
import { decodeFrame, type Frame, type RoutedHeader, toMessage } from './frame.ts'
import { compareIds } from './inbox.ts'
import { KEYS } from './keys.ts'
import type { Members } from './members.ts'
import type { RedisLink, Reply } from './redis-link.ts'
import { ADOPT, REMOVE } from './scripts.ts'
import type { SessionStore } from './session-store.ts'
import { decodeSession, type StoredSession } from './stored-session.ts'

interface AdoptionOptions {
  readonly link: Pick<RedisLink, 'isUp' | 'call' | 'pipeline'>
  readonly members: Pick<Members, 'self' | 'dead' | 'has' | 'renew' | 'isLive'>
  readonly store: SessionStore
  readonly passage: Passage
  readonly whenKnown: () => Promise<void> | null
  /** Settles once all that this gateway has for others is written. */
  readonly written: () => Promise<void>
  readonly parts: () => Pick<ClusterParts, 'sessions'>
  /** Not before this time, by `performance.now()`: after an outage of Redis the others come back one by one. */
  readonly notBeforeMs: () => number
  readonly logger: Logger
}

/** Clients that are taken in one pipeline, and entries that are read at once. */
const CLIENTS_AT_ONCE = 200
const ENTRIES_AT_ONCE = 256
/** Longer than an adoption takes; then another gateway may try. */
const LOCK_MS = 30_000
const POLL_MS = 100

interface Adopted {
  readonly session: Session
  readonly stored: StoredSession
}

/** See the top of this file. */
export class Adoption {
  readonly #options: AdoptionOptions
  readonly #underWay = new Map<string, Promise<void>>()
  /** Sessions that were adopted here. */
  adopted = 0

  constructor (options: AdoptionOptions) {
    this.#options = options
  }

  /** Adopts what dead gateways have left. */
  lookAround (): void {
    for (const gateway of this.#options.members.dead) {
      // eslint-disable-next-line @typescript-eslint/no-floating-promises -- it does not reject
      this.#attempt(gateway)
    }
  }

  /** Settles once a dead gateway is no more, whoever has adopted its sessions. */
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
    const { link, members, whenKnown, written, logger, store } = this.#options
    const locked = await link.call('SET', KEYS.adoption(gateway), members.self, 'NX', 'PX', LOCK_MS)
    if (locked === null || !await this.#isDead(gateway)) return
    const adopted = await this.#take(gateway)
    await whenKnown()
    await written()
    const seen = await this.#readRest(gateway, adopted)
    for (const [clientId, { session }] of adopted) {
      session.release(({ origin, number }) => number > (seen.get(origin) ?? 0))
      store.changed(clientId)
    }
    await link.call('EVAL', REMOVE, 0, gateway)
    await members.renew()
    this.adopted += adopted.size
    logger.warn({ gateway, sessions: adopted.size }, 'a gateway is dead; its sessions are adopted')
  }

  /** A gateway that was only slow has its lease again. */
  async #isDead (gateway: string): Promise<boolean> {
    const { link } = this.#options
    if (await link.call('EXISTS', KEYS.lease(gateway)) === 0) return true
    await link.call('DEL', KEYS.adoption(gateway))
    return false
  }

  /** Takes all sessions of a dead gateway. */
  async #take (gateway: string): Promise<ReadonlyMap<string, Adopted>> {
    const { link, members, store, passage, parts } = this.#options
    const clientIds = (await link.call('SMEMBERS', KEYS.clients(gateway)) as Reply[]).map(String)
    const adopted = new Map<string, Adopted>()
    for (let at = 0; at < clientIds.length; at += CLIENTS_AT_ONCE) {
      const some = clientIds.slice(at, at + CLIENTS_AT_ONCE)
      const replies = await link.pipeline(some.map((clientId) => ['EVAL', ADOPT, 0, members.self, gateway, clientId]))
      for (const [index, clientId] of some.entries()) {
        const reply = replies[index]
        if (reply instanceof Error) throw reply
        if (!Array.isArray(reply)) continue
        const stored = decodeSession(reply[1] as Reply[])
        const session = stored === null ? null : parts().sessions.restore(clientId, stored.state)
        if (stored === null || session === null) {
          store.own(clientId, Number(reply[0]))
          continue
        }
        session.hold(passage)
        session.restore(stored.deliveries)
        store.own(clientId, Number(reply[0]), stored.deliveries)
        adopted.set(clientId, { session, stored })
      }
    }
    return adopted
  }

  /**
   * Delivers what the dead gateway had not read of its stream, or not written.
   * @returns numbers of the last messages in it, by the gateway that published them
   */
  async #readRest (gateway: string, adopted: ReadonlyMap<string, Adopted>): Promise<ReadonlyMap<string, number>> {
    const { link } = this.#options
    const filters = new LiveFilters()
    const positions = new Map<Session, string>()
    for (const { session, stored } of adopted.values()) {
      for (const [filter, subscription] of session.filters) filters.add(filter, session, subscription)
      positions.set(session, stored.position)
    }
    const seen = new Map<string, number>()
    const from = await link.call('GET', KEYS.position(gateway)) as Buffer | null
    let after = from === null ? '-' : `(${from.toString()}`
    for (;;) {
      const entries = await link.call('XRANGE', KEYS.stream(gateway), after, '+', 'COUNT', ENTRIES_AT_ONCE) as Reply[]
      if (entries.length === 0) return seen
      for (const [id, fields] of entries as unknown as Array<[Buffer, Buffer[]]>) {
        const bytes = fields[1]!
        after = `(${id.toString()}`
        if (bytes.length > 0) deliverEntry(bytes, { id: id.toString(), filters, positions, seen })
      }
    }
  }
}

interface Rest {
  readonly id: string
  readonly filters: LiveFilters
  readonly positions: ReadonlyMap<Session, string>
  readonly seen: Map<string, number>
}

function deliverEntry (bytes: Buffer, rest: Rest): void {
  const { header, bodies } = decodeFrame(bytes)
  const frame = header as Frame
  if (frame.t === 'erase') {
    for (const session of rest.positions.keys()) session.drop((topic) => isOfDevice(topic, frame.device))
  }
  if (frame.t !== 'm') return
  let at = 0
  for (const routed of frame.m) {
    const { message, end } = toMessage(routed, bodies, at)
    at = end
    rest.seen.set(frame.o, routed.n)
    deliverRest(message, routed, rest)
  }
}

/** Delivers one message to those sessions that were written before it came. */
function deliverRest (
  message: ReturnType<typeof toMessage>['message'], { c, s = [] }: RoutedHeader, { id, filters, positions }: Rest
): void {
  const { topic, payload, properties, qos: publishedQoS, retain } = message
  const found = filters.matching(topic)
  const due = [...toRecipients(found, c)].filter(([session, subscription]) => !isOwn(session, subscription, c))
  for (const { filter, groups } of found) {
    for (const [name, group] of groups ?? []) {
      const member = s.includes(`$share/${name}/${filter}`) ? group.next() : null
      if (member !== null) due.push([...member])
    }
  }
  for (const [session, { qos: granted, identifiers, retainAsPublished }] of due) {
    const qos = Math.min(granted, publishedQoS)
    if (qos === 0 || compareIds(positions.get(session)!, id) >= 0) continue
    const kept = { topic, payload: ownCopy(payload), properties: ownProperties(properties) }
    session.deliver(kept, qos === 2 ? 2 : 1, { isRetained: retain && retainAsPublished, identifiers }, true)
  }
}

const sleep = (ms: number) => new Promise((resolve) => { setTimeout(resolve, ms) })
