import { setTimeout as sleep } from 'node:timers/promises'
import type { LatestSearch } from '../../../db/queries/latest-search.ts'
import { ReadsBusyError } from '../read-budget.ts'

/** After this time a request is refused, so that the client retries. */
const WAIT_MAX_MS = 2000

type Select<Search, Page> = (search: Search) => Promise<Page>

/**
 * Pages for which PostgreSQL sorts all devices, one at a time. A sort takes a core for as long as it reads the table, 2
 * s at a million devices. When many ran in parallel no batch was committed in time, and requests that timed out were
 * repeated. Requests for a page that still waits for its turn share it: its read begins after all of them.
 */
export function createTableSorts<Search extends LatestSearch & { readonly position?: string | null }, Page> (
  select: Select<Search, Page>, waitMaxMs = WAIT_MAX_MS
): Select<Search, Page> {
  const waiting = new Map<string, Promise<Page>>()
  let last: Promise<unknown> = Promise.resolve()

  async function takeTurn (search: Search, key: string, turn: Promise<unknown>): Promise<Page> {
    const timer = new AbortController()
    const isTurn = await Promise.race([turn.then(() => true), sleep(waitMaxMs, false, { signal: timer.signal })])
    timer.abort()
    waiting.delete(key)
    if (!isTurn) throw new ReadsBusyError(`PostgreSQL sorted other pages for ${waitMaxMs} ms`)
    return await select(search)
  }

  /** @throws `VITAL_READS_BUSY` when its turn does not come in time */
  return async function sort (search) {
    const { sortBy, orderBy, offset, count, prefix, silentSinceUs, after, position } = search
    const key = JSON.stringify([sortBy, orderBy, offset, count, prefix, silentSinceUs, after, position])
    let page = waiting.get(key)
    if (page === undefined) {
      page = takeTurn(search, key, last)
      waiting.set(key, page)
      // Without a value: that of allSettled would hold the page, and the value before it, for ever.
      last = Promise.allSettled([last, page]).then(() => {})
    }
    return await page
  }
}
