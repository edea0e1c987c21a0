import type { Kysely } from 'kysely'
import { selectErasures } from '../../db/erase/erasure-requests.ts'
import type { Tables } from '../../db/tables.ts'

/**
 * How long a gateway may write without having looked for requests. An erasure waits longer than this for a gateway before it
 * goes on without it, so one that was frozen, or away from PostgreSQL, looks before it writes again.
 */
const LEASE_MS = 5000

/** A request has to be dealt with first: what would be written may be older than it. Taken for an outage of PostgreSQL. */
class ErasurePendingError extends Error {
  readonly code = 'VITAL_ERASURE_PENDING'
}

/** What a gateway has seen of the requests to erase devices, and until when it may write by that. */
export class ErasureLease {
  readonly #kysely: Kysely<Tables>
  /** Id of the last request that was dealt with; `null`: this gateway is not registered yet. */
  seen: number | null = null
  #freshAtMs = -Infinity
  #looking: Promise<void> | null = null

  constructor (kysely: Kysely<Tables>) {
    this.#kysely = kysely
  }

  /** No request was unseen at this time, by `performance.now()`. */
  renew (atMs: number): void {
    this.#freshAtMs = Math.max(this.#freshAtMs, atMs)
  }

  /** @returns `null`: it may write. The promise rejects where it must not, or cannot tell */
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
