import type { Principal } from '../../schemas/principal.ts'

/**
 * What a change of principals means for one of them: Unix milliseconds until which it may stay, 0 for one that must go now, `undefined`
 * where nothing changes. Asked again for logins that were under way, so it must hold for as long as one takes.
 */
export type PrincipalReview = (principal: Principal | null) => number | undefined

/** More than come within the longest authentication. */
const REVIEWS_MAX = 1000

/** The latest reviews, for authentications that were under way when they came: their answer may be the older one. */
export class Endings {
  readonly #latest: PrincipalReview[] = []
  #forgotten = 0

  /** How many there have been. */
  get count (): number {
    return this.#forgotten + this.#latest.length
  }

  note (review: PrincipalReview): void {
    this.#latest.push(review)
    if (this.#latest.length <= REVIEWS_MAX) return
    this.#latest.shift()
    this.#forgotten++
  }

  /** What the reviews mean for a principal that came when there had been `since`: the earliest end of all. */
  untilOf (principal: Principal | null, since: number): number | undefined {
    if (since < this.#forgotten) return 0
    let untilMs: number | undefined
    for (const review of this.#latest.slice(since - this.#forgotten)) {
      const endMs = review(principal)
      if (endMs !== undefined) untilMs = Math.min(endMs, untilMs ?? Infinity)
    }
    return untilMs
  }
}
