import type { Logger } from 'pino'
import type { ClusterParts } from '../cluster.ts'
import type { Handover } from './handover.ts'
import type { ClusterLimits } from './limits.ts'
import type { RedisLink, Reply } from './redis/redis-link.ts'
import { RECLAIM } from './scripts.ts'
import type { SessionStore } from './session-store.ts'
import type { CopiedWills } from './wills/copied-wills.ts'

interface ReclaimOptions {
  readonly link: Pick<RedisLink, 'isUp' | 'pipeline'>
  readonly self: () => string
  readonly store: SessionStore
  readonly handover: Pick<Handover, 'fetch'>
  readonly unclaimed: Set<string>
  /** Whether another gateway has adopted this one, or may have. */
  readonly joining: { readonly mayBeAdopted: boolean }
  readonly copiedWills: CopiedWills
  readonly parts: () => Pick<ClusterParts, 'sessions' | 'connections' | 'wills'>
  readonly limits: Pick<ClusterLimits, 'claimTimeoutMs'>
  readonly logger: Logger
}

const CLIENTS_AT_ONCE = 200

/**
 * Clients that this gateway serves and does not own in Redis: those that came while Redis was away, and all clients
 * once Redis has lost this gateway.
 *
 * A session that another gateway has adopted meanwhile stays with that gateway, which has the messages published since.
 * So the client is closed here, and fetches the session when it connects again. A client that came while Redis was away
 * was told that it has no session, so an earlier session ends [MQTT-3.1.2-6].
 */
export class Reclaim {
  readonly #options: ReclaimOptions
  #isUnderWay = false
  /** The name under which this gateway owns its clients in Redis. */
  #owner = ''

  constructor (options: ReclaimOptions) {
    this.#options = options
  }

  /** Another gateway has a client of this one. */
  lose (clientId: string): void {
    const { store, unclaimed, joining, copiedWills, parts } = this.#options
    const { connections, sessions } = parts()
    const holder = connections.holderOf(clientId)
    if (joining.mayBeAdopted) {
      // The gateway that has adopted this one has published it, or lets it wait.
      copiedWills.noteTaken(clientId)
      holder?.client.dropWill()
    }
    store.disown(clientId)
    unclaimed.delete(clientId)
    holder?.surrender()
    sessions.surrender(clientId)
  }

  /** A client has left. Without a session it need not be claimed. */
  left (clientId: string): void {
    const { unclaimed, parts } = this.#options
    if (!unclaimed.has(clientId)) return
    if (!parts().sessions.has(clientId) && parts().connections.holderOf(clientId) === undefined) unclaimed.delete(clientId)
  }

  /**
   * Takes the clients that this gateway had under its former name.
   * @param areAdopted - a client that Redis does not have any more was adopted, and its will published
   * @throws when Redis does not answer
   */
  async takeAll (areAdopted: boolean): Promise<void> {
    const { store, self } = this.#options
    // Another gateway reads them where they are: in their records, and in the stream of the dead gateway.
    for (const clientId of [...store.adopting.keys()]) this.lose(clientId)
    const owned = [...store.owned]
    for (let at = 0; at < owned.length; at += CLIENTS_AT_ONCE) {
      await this.#take(owned.slice(at, at + CLIENTS_AT_ONCE), (clientId) => { this.lose(clientId) }, areAdopted)
    }
    this.#owner = self()
  }

  /** Takes the clients that came while Redis was away. @throws when Redis does not answer */
  async takeUnclaimed (): Promise<void> {
    const { unclaimed, link } = this.#options
    if (this.#isUnderWay || unclaimed.size === 0 || !link.isUp) return
    this.#isUnderWay = true
    try {
      const some = [...unclaimed].slice(0, CLIENTS_AT_ONCE).map((clientId) => [clientId, 0] as const)
      const held: Array<readonly [string, string]> = []
      await this.#take(some, (clientId, owner) => { held.push([clientId, owner]) })
      for (const [clientId, owner] of held) await this.#end(clientId, owner)
    } finally {
      this.#isUnderWay = false
    }
  }

  /** Ends the session that another gateway has of a client connected here. */
  async #end (clientId: string, owner: string): Promise<void> {
    const { handover, parts, limits } = this.#options
    if (parts().connections.holderOf(clientId) === undefined) return this.lose(clientId)
    await handover.fetch(owner, clientId, { anew: true, timeoutMs: limits.claimTimeoutMs })
  }

  async #take (
    clients: ReadonlyArray<readonly [string, number]>,
    onHeld: (clientId: string, owner: string) => void,
    areAdopted = false
  ): Promise<void> {
    const { link, self, store, unclaimed, copiedWills, parts } = this.#options
    const replies = await link.pipeline(clients.map(([clientId, epoch]) => {
      const principal = parts().connections.holderOf(clientId)?.access.principal ?? parts().sessions.ownerOf(clientId) ?? null
      return ['EVAL', RECLAIM, 0, self(), clientId, JSON.stringify(principal), this.#owner, epoch]
    }))
    for (const [at, [clientId]] of clients.entries()) {
      const reply = replies[at]
      if (reply instanceof Error) throw reply
      const [status, value, isMine] = reply as Reply[]
      if (String(status) === 'held') {
        onHeld(clientId, String(value))
        continue
      }
      unclaimed.delete(clientId)
      store.own(clientId, Number(value))
      if (!areAdopted || isMine === 1 || !copiedWills.has(clientId)) continue
      copiedWills.noteTaken(clientId)
      parts().wills.give(clientId)
    }
  }
}
