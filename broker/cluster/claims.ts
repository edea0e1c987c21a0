/**
 * Which gateway has a client, and how a session goes from one gateway to another.
 *
 *   CONNECT here ──> Redis: nobody has it ─────────────────────────> ours
 *                           a dead gateway has its session ────────> adopted first (adoption.ts), then as below
 *                           a live gateway has it ──> handover
 *
 * The handover, with N the new gateway and O the one that has the client:
 *
 *   1. N asks. O closes the connection, and tells the session's subscriptions ("ready").
 *   2. N subscribes to them and sets aside what is published for the session. Once every live gateway knows of that, N
 *      says so ("take").
 *   3. O reads "take" behind all messages that were written to O alone. It writes the session to Redis as N's, with the
 *      number of the last message of each gateway that the session had at O, and says so ("gone").
 *   4. N reads the session, and adds of what it has set aside those messages that have higher numbers.
 *
 * So each message is in the session once, and those of a publisher are in order. Until step 3 the session is O's: a
 * failure leaves it there.
 */
import type { Logger } from 'pino'
import type { Principal } from '../../schemas/principal.ts'
import { claimOf } from '../connect/authorisation.ts'
import type { ClientClaim, ClusterParts } from '../cluster.ts'
import type { Handover } from './handover.ts'
import type { Joining } from './joining.ts'
import type { ClusterLimits } from './limits.ts'
import type { RedisLink, Reply } from './redis/redis-link.ts'
import { CLAIM, FORCE } from './scripts.ts'
import type { SessionStore } from './session-store.ts'

interface ClaimsOptions {
  readonly link: Pick<RedisLink, 'isUp' | 'call'>
  readonly self: () => string
  readonly joining: Pick<Joining, 'isJoined' | 'downForMs'>
  readonly store: SessionStore
  readonly handover: Handover
  /** Settles once a dead gateway's sessions are adopted, here or elsewhere. */
  readonly adopted: (gateway: string) => Promise<void>
  readonly parts: () => Pick<ClusterParts, 'sessions' | 'connections'>
  readonly limits: Pick<ClusterLimits, 'claimTimeoutMs' | 'leaseMs'>
  readonly logger: Logger
}

/** How long a claim that failed waits before it is tried again. */
const RETRY_MS = 50
const POLL_MS = 20
/** Fewest requests to a live gateway before a client is taken from it by force, which loses what it has queued. */
const ASKED_MIN = 4

/** See the top of this file. */
export class Claims {
  readonly #options: ClaimsOptions
  readonly #underWay = new Map<string, Promise<unknown>>()
  #reconnecting: Promise<void> | null = null
  /** Clients that are served without Redis knowing. */
  readonly unclaimed = new Set<string>()
  /** Sessions that were fetched from another gateway, or from Redis. */
  fetched = 0

  constructor (options: ClaimsOptions) {
    this.#options = options
  }

  /** Settles once a claim is decided; `undefined`: none is under way. Never rejects. */
  settled (clientId: string): Promise<unknown> | undefined {
    return this.#underWay.get(clientId)
  }

  /** @see Cluster.claim */
  async claim (wanted: ClientClaim): Promise<'granted' | 'refused'> {
    const { clientId } = wanted
    const { store, link, joining, handover } = this.#options
    if (!joining.isJoined && !wanted.startsAnew && !store.owned.has(clientId)) {
      await this.#whenReconnected()
    }
    // Nothing is awaited from here on until the claim is noted, so each client has one at a time.
    for (let earlier = this.#earlier(clientId); earlier !== undefined; earlier = this.#earlier(clientId)) await earlier
    if (store.owned.has(clientId)) {
      handover.cancel(clientId)
      return 'granted'
    }
    if (!link.isUp || !joining.isJoined) return this.#withoutRedis(clientId)
    store.withhold(clientId)
    const claim = this.#claimPatiently(wanted)
    this.#underWay.set(clientId, claim.catch(() => {}))
    try {
      return await claim
    } catch (error) {
      this.#options.logger.warn({ clientId, err: error }, 'a client is let in without its session: Redis did not say who has it')
      // The prepared session lacks the queue of the other gateway. A client told of a session must find all of it.
      handover.drop(clientId)
      return this.#withoutRedis(clientId)
    } finally {
      this.#underWay.delete(clientId)
      store.resume(clientId)
    }
  }

  /** The claim or handover under way that decides which gateway has the client. */
  #earlier (clientId: string): Promise<unknown> | undefined {
    return this.#underWay.get(clientId) ?? this.#options.handover.handing(clientId)
  }

  /** Waits out an outage of Redis during a claim, as one before it: the other gateway still has the queue. */
  async #claimPatiently (wanted: ClientClaim): Promise<'granted' | 'refused'> {
    try {
      return await this.#claim(wanted)
    } catch (error) {
      if (wanted.startsAnew) throw error
      await new Promise((resolve) => { setTimeout(resolve, RETRY_MS) })
      await this.#whenReconnected()
      if (!this.#options.joining.isJoined) throw error
      return await this.#claim(wanted)
    }
  }

  /** Waits for Redis, at most a lease: a client must not lose its session to a short outage. */
  async #whenReconnected (): Promise<void> {
    await (this.#reconnecting ??= this.#reconnect().finally(() => { this.#reconnecting = null }))
  }

  async #reconnect (): Promise<void> {
    const { joining, limits } = this.#options
    while (!joining.isJoined && joining.downForMs < limits.leaseMs) {
      await new Promise((resolve) => { setTimeout(resolve, POLL_MS) })
    }
  }

  #withoutRedis (clientId: string): 'granted' {
    this.unclaimed.add(clientId)
    return 'granted'
  }

  async #claim ({ clientId, principal, startsAnew }: ClientClaim): Promise<'granted' | 'refused'> {
    const { link, self, handover, adopted, limits } = this.#options
    const deadlineMs = performance.now() + limits.claimTimeoutMs
    let asked = 0
    let dead: string | null = null
    for (;;) {
      // It was adopted with all others of a dead gateway.
      if (this.#options.store.owned.has(clientId)) return 'granted'
      const reply = await link.call('EVAL', CLAIM, 0, self(), clientId, JSON.stringify(principal)) as Reply[]
      const owner = String(reply[1])
      this.#options.logger.debug({ clientId, answer: String(reply[0]), owner }, 'a client is claimed')
      switch (String(reply[0])) {
        case 'mine':
        case 'taken':
          await this.#fetch(clientId, Number(reply[1]), String(reply[2]) !== '')
          return 'granted'
        case 'held': {
          const claim = claimOf(principal, JSON.parse(String(reply[2])) as Principal | null)
          if (claim === 'refuse') {
            handover.drop(clientId)
            return 'refused'
          }
          const anew = startsAnew || claim === 'discard'
          // A process that was frozen finds the deadline passed after a single request.
          if (performance.now() > deadlineMs && asked >= ASKED_MIN) return await this.#force(clientId)
          asked++
          if (await handover.fetch(owner, clientId, { anew, timeoutMs: limits.claimTimeoutMs / ASKED_MIN })) {
            if (!anew) this.fetched++
          } else await new Promise((resolve) => { setTimeout(resolve, RETRY_MS) })
          break
        }
        default:
          // Without a time limit: a gateway that read the session during its adoption would have every delivery twice.
          handover.drop(clientId)
          if (dead === owner) await new Promise((resolve) => { setTimeout(resolve, RETRY_MS) })
          dead = owner
          await adopted(owner)
      }
    }
  }

  /** Takes a client from a gateway that lives and does not answer. */
  async #force (clientId: string): Promise<'granted'> {
    const { link, self, logger } = this.#options
    logger.warn({ clientId }, 'a client is taken from a gateway that does not give it')
    const [, epoch, session] = await link.call('EVAL', FORCE, 0, self(), clientId) as Reply[]
    await this.#fetch(clientId, Number(epoch), String(session) !== '')
    return 'granted'
  }

  /** Reads the session of a client that this gateway has now. */
  async #fetch (clientId: string, epoch: number, hasSession: boolean): Promise<void> {
    const { store, handover } = this.#options
    if (!hasSession) {
      handover.drop(clientId)
      return store.own(clientId, epoch, [])
    }
    // The gateway that gave it may have died before it said so: then what was set aside is here still.
    await handover.finish(clientId, epoch)
    this.fetched++
  }
}
