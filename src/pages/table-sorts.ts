import { setTimeout as sleep } from 'node:timers/promises'
import type { LatestQuery, ResourceList } from '../../schemas/vital-data.ts'

/** Longer, and whoever asked is better told to come again. */
const WAIT_MAX_MS = 2000

type Select = (query: LatestQuery) => Promise<ResourceList>

/** It may be asked for again at any time. */
class SortsBusyError extends Error {
  readonly code = 'VITAL_SORTS_BUSY'
  constructor (waitedMs: number) {
    super(`the page was not begun within ${waitedMs} ms, for PostgreSQL sorts others`)
  }
}

/**
 * Pages for which PostgreSQL sorts all devices, one at a time. A sort takes a core for as long as it reads the table, 2 s at a million devices; where many ran
 * beside each other no batch was committed in time, and what timed out was asked for again. Whoever asks for a page that still waits for its turn shares it:
 * its read begins after both have asked.
 */
export function createTableSorts (select: Select, waitMaxMs = WAIT_MAX_MS): Select {
  const waiting = new Map<string, Promise<ResourceList>>()
  let last: Promise<unknown> = Promise.resolve()

  async function takeTurn (query: LatestQuery, key: string, turn: Promise<unknown>): Promise<ResourceList> {
    const timer = new AbortController()
    const isTurn = await Promise.race([turn.then(() => true), sleep(waitMaxMs, false, { signal: timer.signal })])
    timer.abort()
    waiting.delete(key)
    if (!isTurn) throw new SortsBusyError(waitMaxMs)
    return await select(query)
  }

  /** @throws `VITAL_SORTS_BUSY` when its turn does not come in time */
  return async function sort (query) {
    const key = JSON.stringify([query.sortBy, query.orderBy, query.offset, query.count])
    let page = waiting.get(key)
    if (page === undefined) {
      page = takeTurn(query, key, last)
      waiting.set(key, page)
      // Without a value: that of allSettled would hold the page, and the value before it, for ever.
      last = Promise.allSettled([last, page]).then(() => {})
    }
    return await page
  }
}
