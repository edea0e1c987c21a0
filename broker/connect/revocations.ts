import type { CloseReason } from '../../schemas/close-reason.ts'
import type { Principal } from '../../schemas/principal.ts'
import type { Connection } from '../connection.ts'
import type { Connections } from '../connections.ts'

/**
 * Tells until when a principal may stay connected after a change of principals: Unix milliseconds, 0 for one that must
 * leave now, `undefined` where nothing changes. It is called again for logins that were under way, so its answers must
 * hold for as long as a login takes.
 */
export type PrincipalReview = (principal: Principal | null) => number | undefined

/** More reviews than come within the longest authentication. */
const REVIEWS_MAX = 1000

/**
 * Closes connections whose principal may not be connected any more. The latest reviews are kept for logins that were
 * under way when they came: the principal of such a login may have been read before the change.
 */
export class Revocations {
  readonly #connections: Pick<Connections, 'open'>
  readonly #latest: PrincipalReview[] = []
  #forgotten = 0

  constructor (connections: Pick<Connections, 'open'>) {
    this.#connections = connections
  }

  /** How many reviews there have been. */
  get count (): number {
    return this.#forgotten + this.#latest.length
  }

  /**
   * Closes the connections of principals that must leave, without their wills, and sets the new end of the others.
   * @param ids - principals whose open connections are reviewed; without it, all. Logins under way always are
   */
  review (review: PrincipalReview, ids?: ReadonlySet<string>): void {
    this.#note(review)
    const nowMs = Date.now()
    for (const connection of this.#connections.open) {
      const { principal } = connection.access
      if (principal === undefined || (ids !== undefined && (principal === null || !ids.has(principal.id)))) continue
      const untilMs = review(principal)
      if (untilMs === undefined) continue
      if (untilMs <= nowMs) revoke(connection, 'revoked')
      else connection.access.expireAt(untilMs)
    }
  }

  /** Closes the connections whose credentials have expired. */
  expire (nowMs: number): void {
    for (const connection of this.#connections.open) {
      if (connection.access.expiresAtMs <= nowMs) revoke(connection, 'expired')
    }
  }

  /** The earliest end that the reviews after the first `since` give a principal; `undefined`: none changes its end. */
  untilOf (principal: Principal | null, since: number): number | undefined {
    if (since < this.#forgotten) return 0
    let untilMs: number | undefined
    for (const review of this.#latest.slice(since - this.#forgotten)) {
      const endMs = review(principal)
      if (endMs !== undefined) untilMs = Math.min(endMs, untilMs ?? Infinity)
    }
    return untilMs
  }

  #note (review: PrincipalReview): void {
    this.#latest.push(review)
    if (this.#latest.length <= REVIEWS_MAX) return
    this.#latest.shift()
    this.#forgotten++
  }
}

/** Closes a connection; publishes under way and its will are dropped. */
function revoke (connection: Connection, reason: CloseReason): void {
  connection.access.revoke()
  connection.gate.close()
  connection.destroy(reason)
}
