import type { Kysely } from 'kysely'
import { selectErasures } from '../../db/erase/erasure-requests.ts'
import type { Tables } from '../../db/tables.ts'

/**
 * How long a gateway may write after it has checked for requests. An erasure waits longer than this for each gateway
 * before it continues without it. So a gateway that was frozen or cut off from PostgreSQL checks before it writes
 * again.
 */
const LEASE_MS = 5000

/** A request must be dealt with first, because the readings to write may be older than it. Handled like an outage. */
class ErasurePendingError extends Error {
  readonly code = 'VITAL_ERASURE_PENDING'
}

/** The last request to erase a device that a gateway has dealt with, and whether it may write without another check. */
export class ErasureLease {
  readonly #kysely: Kysely<Tables>
  /** Id of the last request that was dealt with; `null`: this gateway is not registered yet. */
  seen: number | null = null
  #freshAtMs = -Infinity
  #looking: Promise<void> | null = null

  constructor (kysely: Kysely<Tables>) {
    this.#kysely = kysely
  }

  /** Notes that no new request existed at this time, by `performance.now()`. */
  renew (atMs: number): void {
    this.#freshAtMs = Math.max(this.#freshAtMs, atMs)
  }

  /** @returns `null`: it may write now. The promise rejects if it must not write, or the check fails */
  readonly mayWrite = (): Promise<void> | null => {
    if (this.seen === null || performance.now() - this.#freshAtMs <= LEASE_MS) return null
    this.#looking ??= this.#look(this.seen).finally(() => { this.#looking = null })
    return this.#looking
  }

  async #look (seen: number): Promise<void> {
    const askedAtMs = performance.now()
    const found = await selectErasures(this.#kysely, seen)
    if (found.length > 0) throw new ErasurePendingError('devices are being erased; this gateway has not dealt with that yet')
    this.renew(askedAtMs)
  }
}
