import type { Snapshot } from '../../../db/queries/latest-search.ts'

/** An older one is refreshed beside the page that uses it; one that is older than that is waited for. */
const REFRESH_MS = 50
const AGE_MAX_MS = 200

/**
 * What PostgreSQL saw a moment ago: a walk whose first page comes from Redis goes on in PostgreSQL, and leaves out what
 * changed since. A question for each page would cost more than the page.
 * @param select - asks PostgreSQL
 * @returns gives a snapshot of before the call, at most {@link AGE_MAX_MS} old
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
