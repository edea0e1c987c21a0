import { ApiError, ask } from './api.ts'
import type { HistoryBucket, HistoryReading } from './history-lines.ts'

export type Every = '1m' | '5m' | '15m' | '1h' | '1d'

export interface HistoryQuery<E extends Every | null> {
  readonly fromS: number
  readonly toS: number
  /** `null`: readings. */
  readonly every: E
  readonly count: number
}

/**
 * The newest readings or buckets of a device, newest first; empty for an unknown device.
 * @throws {@link ApiError}
 */
export async function readHistory<E extends Every | null> (
  id: string, { fromS, toS, every, count }: HistoryQuery<E>, signal?: AbortSignal
): Promise<Array<E extends null ? HistoryReading : HistoryBucket>> {
  // JSON has a page of 1,000 at most. A stream that breaks is an error of fetch, and never taken for the whole.
  const query = new URLSearchParams({ from: fromS.toFixed(3), to: toS.toFixed(3), order: 'desc', format: 'ndjson', count: String(count) })
  if (every !== null) query.set('every', every)
  // Days are those of the viewer's time zone.
  if (every === '1d') query.set('tz', Intl.DateTimeFormat().resolvedOptions().timeZone)
  try {
    const response = await ask(`/vital-data/${encodeURIComponent(id)}/history?${query}`, signal === undefined ? {} : { signal })
    const lines = (await response.text()).split('\n').filter((line) => line !== '')
    return lines.map((line) => JSON.parse(line) as E extends null ? HistoryReading : HistoryBucket)
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return []
    throw error
  }
}
