import type { Snapshot } from '../../../db/queries/latest-search.ts'

/** An older snapshot is refreshed beside the page that uses it. */
const REFRESH_MS = 50
/** Where the last snapshot is older, a page waits for a new one. */
const AGE_MAX_MS = 200

/**
 * A recent snapshot of PostgreSQL: a walk whose first page comes from Redis goes on in PostgreSQL, and leaves out rows
 * that changed since the snapshot. Asking PostgreSQL for each page would cost more than the page.
 * @param select - asks PostgreSQL
 * @returns a function that gives a snapshot from before its call, at most {@link AGE_MAX_MS} old
 */
export function createRecentSnapshot (select: () => Promise<Snapshot>, nowMs = () => performance.now()): () => Promise<Snapshot> {
  let last: Snapshot | null = null
  let askedAtMs = -Infinity
  let asking: Promise<Snapshot> | null = null

  function ask (): Promise<Snapshot> {
    const atMs = nowMs()
    asking ??= select().then((snapshot) => {
      last = snapshot
      askedAtMs = atMs
      return snapshot
    }).finally(() => { asking = null })
    return asking
  }

  return async () => {
    const ageMs = nowMs() - askedAtMs
    if (last === null || ageMs > AGE_MAX_MS) return await ask()
    if (ageMs > REFRESH_MS) ask().catch(() => {})
    return last
  }
}
