import type { Principal } from '../schemas/principal.ts'

/** Chooses principals whose connections are ended. */
export type PrincipalPredicate = (principal: Principal | null) => boolean

/** More than come within the longest authentication; each names principals that changed. */
const ENDINGS_MAX = 1000

/** The latest endings, for authentications that were under way when they came: their answer may be the older one. */
export class Endings {
  readonly #latest: PrincipalPredicate[] = []
  #forgotten = 0

  /** How many there have been. */
  get count (): number {
    return this.#forgotten + this.#latest.length
  }

  note (predicate: PrincipalPredicate): void {
    this.#latest.push(predicate)
    if (this.#latest.length <= ENDINGS_MAX) return
    this.#latest.shift()
    this.#forgotten++
  }

  /** Whether an ending that came when there had been `since` may have been this principal's. */
  includes (principal: Principal | null, since: number): boolean {
    return since < this.#forgotten || this.#latest.slice(since - this.#forgotten).some((predicate) => predicate(principal))
  }
}
