/**
 * The wills of the clients of a dead gateway.
 *
 * A will without a delay is due once its gateway has been found dead, and one with a delay so long after that. One that
 * was waiting there is due when it would have been due there. What is due is taken out of Redis in one step, by the
 * gateway that holds the lock of the adoption, and then published: should this gateway be killed in between, the will is
 * lost. What is not due yet goes with its session, and waits here.
 */
import type { ClusterParts } from '../../cluster.ts'
import { type KeptWill, toWillBytes } from '../../wills/will.ts'
import { within } from '../limits.ts'
import type { Members } from '../members.ts'
import type { RedisLink, Reply } from '../redis/redis-link.ts'
import { TAKE_WILL } from '../scripts.ts'
import { decodeWill } from './stored-will.ts'

interface OrphanedWillsOptions {
  readonly link: Pick<RedisLink, 'pipeline'>
  readonly members: Pick<Members, 'self'>
  /** The dead one. */
  readonly gateway: string
  readonly parts: () => Pick<ClusterParts, 'connections' | 'wills'>
  /** Longest that the sessions of the dead gateway wait for its wills to be published. */
  readonly patienceMs: number
}

/** Taken in one pipeline, and published before the next ones are taken: of 16 KiB each these are 3 MiB. */
const WILLS_AT_ONCE = 200

/** See the top of this file. */
export class OrphanedWills {
  readonly #options: OrphanedWillsOptions
  readonly #due = new Set<string>()
  readonly #waiting = new Map<string, KeptWill & { readonly dueMs: number }>()
  #waitingBytes = 0
  #patienceMs: number
  /** That were taken, to be published. */
  taken = 0

  constructor (options: OrphanedWillsOptions) {
    this.#options = options
    this.#patienceMs = options.patienceMs
  }

  /**
   * Notes what Redis has of a client.
   * @param bytes - its will
   * @param hasSession - its session goes on at this gateway
   */
  note (clientId: string, bytes: Buffer, hasSession: boolean): void {
    const kept = decodeWill(bytes)
    if (this.#waiting.has(clientId)) return
    const nowMs = performance.now()
    const dueMs = kept?.dueMs ?? nowMs + (kept?.delayMs ?? 0)
    const willBytes = kept === null ? 0 : toWillBytes(kept.will)
    const hasRoom = this.#options.parts().wills.admits(this.#waiting.size + 1, this.#waitingBytes + willBytes)
    if (kept === null || !hasSession || dueMs <= nowMs || !hasRoom) this.#due.add(clientId)
    else {
      this.#waiting.set(clientId, { ...kept, dueMs })
      this.#waitingBytes += willBytes
    }
  }

  /** Takes all that are due, and publishes them. @throws when Redis does not answer, or another gateway adopts */
  async publishDue (): Promise<void> {
    const { link, members, gateway } = this.#options
    const nowMs = performance.now()
    for (const [clientId, { dueMs }] of this.#waiting) {
      if (dueMs > nowMs) continue
      this.#waiting.delete(clientId)
      this.#due.add(clientId)
    }
    while (this.#due.size > 0) {
      const some = [...this.#due].slice(0, WILLS_AT_ONCE)
      const { self } = members
      const replies = await link.pipeline(some.map((clientId) => ['EVAL', TAKE_WILL, 0, self, gateway, clientId]))
      await this.#publish(some, replies)
      const failed = replies.find((reply) => reply instanceof Error)
      if (failed !== undefined) throw failed
      if (replies.includes(0)) throw new Error('another gateway adopts')
    }
  }

  /** Its clients' sessions are those of this gateway: what is not due yet waits here. */
  waitHere (): void {
    const { connections, wills } = this.#options.parts()
    for (const [clientId, kept] of this.#waiting) {
      if (connections.holderOf(clientId) === undefined) wills.wait(clientId, kept)
    }
    this.#waiting.clear()
  }

  async #publish (clientIds: readonly string[], replies: readonly Reply[]): Promise<void> {
    const { connections, wills } = this.#options.parts()
    const publishing: Array<Promise<void>> = []
    for (const [at, clientId] of clientIds.entries()) {
      const reply = replies[at]
      if (reply instanceof Error || reply === 0) continue
      this.#due.delete(clientId)
      const kept = Buffer.isBuffer(reply) ? decodeWill(reply) : null
      // A client that came back while Redis was away would be told to be gone after all.
      if (kept === null || connections.holderOf(clientId) !== undefined) continue
      this.taken++
      publishing.push(wills.publish(clientId, kept))
    }
    const begunMs = performance.now()
    await within(Promise.allSettled(publishing), this.#patienceMs)
    this.#patienceMs = Math.max(0, this.#patienceMs - (performance.now() - begunMs))
  }
}
