/** Both sides of a handover; claims.ts tells how it goes. */
import { randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import type { Logger } from 'pino'
import type { ClusterParts } from '../cluster.ts'
import type { CurrentPassage } from '../session/held-deliveries.ts'
import type { Session } from '../session/session.ts'
import type { SessionState } from '../session/sessions.ts'
import type { Notice } from './frame.ts'
import { KEYS } from './keys.ts'
import type { RedisLink, Reply } from './redis/redis-link.ts'
import { DISCLAIM } from './scripts.ts'
import type { SessionStore } from './session-store.ts'
import { decodeSession, decodeState, encodeState } from './stored-session.ts'

type Ready = Extract<Notice, { t: 'ready' }>
type Gone = Extract<Notice, { t: 'gone' }>

/** A session that this gateway asked for. */
interface Fetching {
  readonly owner: string
  readonly clientId: string
  readonly onReady: (notice: Ready) => void
  readonly onGone: (notice: Gone | null) => void
}

/** A session that another gateway asked for, until it says "take". */
interface Giving {
  readonly to: string
  readonly clientId: string
}

interface HandoverOptions {
  readonly link: Pick<RedisLink, 'isUp' | 'call'>
  readonly store: SessionStore
  /** Writes a notice to a gateway's stream. */
  readonly tell: (gateway: string, notice: Notice) => void
  readonly whenKnown: () => Promise<void> | null
  /**
   * Settles once no adoption is under way here; `null`: none is. Until then a session that is being adopted lacks what came
   * for it after the end of its gateway.
   */
  readonly whenAdopted: () => Promise<void> | null
  /** Settles once it is known whether a client becomes this gateway's; `undefined`: it is not asked for. Never rejects. */
  readonly whenClaimed: (clientId: string) => Promise<unknown> | undefined
  readonly passage: CurrentPassage
  readonly seen: () => Record<string, number>
  readonly self: () => string
  readonly parts: () => Pick<ClusterParts, 'sessions' | 'connections'>
  readonly logger: Logger
}

/** Turns of the event loop that a closed connection may take to leave its session. */
const CLOSE_TURNS_MAX = 1000

/** See the top of this file. */
export class Handover {
  readonly #options: HandoverOptions
  readonly #fetching = new Map<string, Fetching>()
  readonly #giving = new Map<string, Giving>()
  /** Step 3, while Redis has not answered: until then it is unknown which gateway has the session. */
  readonly #handing = new Map<string, Promise<void>>()
  /** Clients whose session is held here but not fetched yet, with the gateway that told its subscriptions. */
  readonly #prepared = new Map<string, string>()
  /** Sessions that were given to another gateway. */
  given = 0

  constructor (options: HandoverOptions) {
    this.#options = options
  }

  /** Whether sessions here set their messages aside: sessions that arrive, and sessions that are being given. */
  get isHolding (): boolean {
    return this.#prepared.size > 0 || this.#handing.size > 0
  }

  /** A client has come back here before its session was taken. */
  cancel (clientId: string): void {
    for (const [id, giving] of this.#giving) if (giving.clientId === clientId) this.#giving.delete(id)
  }

  /** Settles once it is known whether a session was given away; `undefined`: none is being given. */
  handing (clientId: string): Promise<void> | undefined {
    return this.#handing.get(clientId)
  }

  /** A gateway is dead or removed, and answers nothing. */
  abandon (gateway: string): void {
    for (const [id, giving] of this.#giving) if (giving.to === gateway) this.#giving.delete(id)
    for (const fetching of this.#fetching.values()) if (fetching.owner === gateway) fetching.onGone(null)
  }

  /**
   * Fetches the session of a client from the gateway that has it; `anew`: it is to be ended there. What an earlier attempt
   * has set aside stays: that gateway may be about to answer it, and gives the session as it was then.
   * @returns false when that gateway did not say that it has given it; what was prepared is held until
   *   {@link Handover.finish} or {@link Handover.drop}
   */
  async fetch (owner: string, clientId: string, { anew, timeoutMs }: { anew: boolean, timeoutMs: number }): Promise<boolean> {
    const id = randomUUID()
    const { tell } = this.#options
    if (anew || this.#prepared.get(clientId) !== owner) this.drop(clientId)
    let timer: NodeJS.Timeout | undefined
    const gone = await new Promise<Gone | null>((resolve) => {
      timer = setTimeout(() => { resolve(null) }, Math.max(0, timeoutMs))
      this.#fetching.set(id, {
        owner,
        clientId,
        // eslint-disable-next-line @typescript-eslint/no-floating-promises -- it does not reject
        onReady: (notice) => { this.#prepare(notice, owner, clientId) },
        onGone: resolve
      })
      tell(owner, { t: 'ask', c: clientId, anew, id })
    })
    clearTimeout(timer)
    this.#fetching.delete(id)
    if (anew) return gone !== null
    if (gone === null || gone.epoch === 0) return false
    await this.finish(clientId, gone.epoch)
    return true
  }

  take (origin: string, notice: Notice): void {
    switch (notice.t) {
      case 'ask':
        this.#give(origin, notice).catch((error: unknown) => {
          this.#options.logger.warn({ err: error, clientId: notice.c }, 'a session was not given to another gateway')
        })
        break
      case 'ready': return this.#fetching.get(notice.id)?.onReady(notice)
      case 'take':
        this.#hand(notice.id).catch((error: unknown) => {
          this.#options.logger.warn({ err: error }, 'a session was not given to another gateway')
        })
        break
      case 'gone': return this.#fetching.get(notice.id)?.onGone(notice)
      default:
    }
  }

  /** Step 2 at the new gateway. */
  async #prepare ({ id, m }: Ready, owner: string, clientId: string): Promise<void> {
    const { parts, passage, whenKnown, tell } = this.#options
    const { sessions } = parts()
    const state = decodeState(m)
    if (this.#prepared.has(clientId) && !hasFilters(sessions.find(clientId), state)) this.drop(clientId)
    this.#prepared.set(clientId, owner)
    // In one turn: nothing may be delivered to it before.
    sessions.restore(clientId, state)?.hold(passage)
    await whenKnown()
    tell(owner, { t: 'take', id })
  }

  /** The prepared handover is not wanted: the session stays where it is. */
  drop (clientId: string): void {
    const { sessions } = this.#options.parts()
    if (this.#prepared.delete(clientId) && sessions.has(clientId)) sessions.surrender(clientId)
  }

  /** Step 4: reads the session of a client that this gateway has now. */
  async finish (clientId: string, epoch: number): Promise<void> {
    const { link, store, parts } = this.#options
    const stored = decodeSession(await link.call('HGETALL', KEYS.client(clientId)) as Reply[])
    const { sessions } = parts()
    if (stored !== null && !sessions.has(clientId)) sessions.restore(clientId, stored.state)
    const session = sessions.find(clientId)
    session?.restore(stored?.deliveries ?? [])
    store.own(clientId, epoch, session === null ? [] : stored?.deliveries ?? [])
    const seen = stored?.seen ?? null
    let isReleased = false
    // It is unknown what a session had that was taken by force, so the messages that were set aside are left out.
    session?.release(({ origin, number }) => seen === null ? isReleased : number > (seen[origin] ?? 0))
    isReleased = true
    this.#prepared.delete(clientId)
    store.changed(clientId)
  }

  /** Step 1 at the gateway that has the client. */
  async #give (to: string, { c: clientId, anew, id }: Extract<Notice, { t: 'ask' }>): Promise<void> {
    const { store, tell, parts, link, self } = this.#options
    const { sessions } = parts()
    await this.#options.whenAdopted()
    // Another gateway has just given it, and what was set aside for it here is not in it yet.
    if (!store.owned.has(clientId)) await this.#options.whenClaimed(clientId)
    this.cancel(clientId)
    if (!store.owned.has(clientId)) {
      await link.call('EVAL', DISCLAIM, 0, self(), clientId)
      tell(to, { t: 'gone', id, epoch: 0 })
      return
    }
    await this.#close(clientId)
    if (anew) {
      sessions.end(clientId)
      store.changed(clientId)
      await store.flush()
      tell(to, { t: 'gone', id, epoch: 0 })
      return
    }
    const state = sessions.stateOf(clientId)
    this.#giving.set(id, { to, clientId })
    if (state === null || state.subscriptions.length === 0) return await this.#hand(id)
    tell(to, { t: 'ready', id, m: encodeState(state) })
  }

  /** Closes the connection of a client [MQTT-3.1.4-2], so that nothing of its session changes any more. */
  async #close (clientId: string): Promise<void> {
    const { connections } = this.#options.parts()
    const connection = connections.holderOf(clientId)
    if (connection === undefined) return
    connection.surrender()
    for (let turn = 0; turn < CLOSE_TURNS_MAX && connections.holderOf(clientId) === connection; turn++) {
      await new Promise((resolve) => { setImmediate(resolve) })
    }
  }

  /** Step 3. */
  async #hand (id: string): Promise<void> {
    const giving = this.#giving.get(id)
    this.#giving.delete(id)
    if (giving === undefined) return
    const handing = this.#transfer(id, giving)
    const settled = handing.catch(() => {})
    this.#handing.set(giving.clientId, settled)
    try {
      await handing
    } finally {
      if (this.#handing.get(giving.clientId) === settled) this.#handing.delete(giving.clientId)
    }
  }

  async #transfer (id: string, { to, clientId }: Giving): Promise<void> {
    const { store, tell, parts, passage, seen } = this.#options
    const { sessions } = parts()
    const session = sessions.find(clientId)
    const had = seen()
    // From here on its messages are set aside. If Redis does not take it, it gets them after all.
    session?.hold(passage)
    try {
      const epoch = await store.transfer(clientId, to, had)
      if (epoch > 0) this.given++
      // Also where it was not written: another gateway has it already.
      sessions.surrender(clientId)
      tell(to, { t: 'gone', id, epoch: Math.max(0, epoch) })
    } catch (error) {
      tell(to, { t: 'gone', id, epoch: 0 })
      throw error
    } finally {
      session?.release(() => true)
    }
  }
}

/** Whether a session has the subscriptions of a state, and no others. */
function hasFilters (session: Session | null, { subscriptions }: SessionState): boolean {
  return session !== null && session.filters.size === subscriptions.length &&
    subscriptions.every(([filter, subscription]) => isDeepStrictEqual(session.filters.get(filter), subscription))
}
