import { type Keyset, type LatestSearch, toKey } from '../../../db/queries/latest-search.ts'
import type { LatestRow } from '../../../db/queries/resource-columns.ts'
import type { Reply } from '../../../broker/cluster/redis/redis-link.ts'

/** The sorted sets of `scripts.ts`. */
const ORDERS = { deviceId: 'd', timestamp: 't', heartRate: 'h', breathRate: 'b' } as const

/** A page of the copy, without the snapshot that a cursor needs. */
export interface CachedPage {
  readonly total: number
  readonly resources: readonly LatestRow[]
  /** Where the page ends; `null` on the last one. */
  readonly end: Pick<Keyset, 'key' | 'device'> | null
}

/** Arguments of the script `PAGE`. */
export function toPageArguments (token: string, { sortBy, orderBy, offset, count }: LatestSearch): Array<string | number> {
  return [token, ORDERS[sortBy], orderBy, offset, count]
}

/** @returns `null` where Redis says that the copy is not complete */
export function parsePage (reply: Reply, { sortBy, offset }: LatestSearch): CachedPage | null {
  if (!Array.isArray(reply)) return null
  const [total, ...pairs] = reply
  const resources: LatestRow[] = []
  for (let at = 0; at < pairs.length; at += 2) resources.push(parseRow(String(pairs[at]), String(pairs[at + 1])))
  const last = resources.at(-1)
  const isLast = last === undefined || offset + resources.length >= Number(total)
  return { total: Number(total), resources, end: isLast ? null : { key: toKey(last, sortBy), device: last.deviceId } }
}

function parseRow (deviceId: string, text: string): LatestRow {
  const [, time, heart, breath, vitals = '', vitalTimestamps = ''] = text.split('\n')
  return {
    deviceId,
    // As PostgreSQL rounds it: both numbers are whole, and division rounds once.
    timestamp: Number(time) / 1e6,
    heartRate: heart === '' ? null : Number(heart),
    breathRate: breath === '' ? null : Number(breath),
    vitals: vitals === '' ? null : vitals,
    vitalTimestamps: vitals === '' ? null : vitalTimestamps
  }
}
