import type { Keyset, LatestSearch } from '../../../db/queries/latest-search.ts'
import type { LatestQuery } from '../../../schemas/vital-data.ts'
import { matchBehind, matchFilter } from './matching-slots.ts'
import { type Columns, selectSlots } from './select-slots.ts'

/** By sort key, the values and the moments in which they changed. */
const SORTS = {
  timestamp: ['times', 'timeMoves'],
  heartRate: ['heartRates', 'heartMoves'],
  breathRate: ['breathRates', 'breathMoves']
} as const satisfies Readonly<Record<Exclude<LatestQuery['sortBy'], 'deviceId'>, readonly [string, string]>>

export const SORTED_COLUMNS = Object.values(SORTS)

/** The columns that a page is picked from, by slot. */
export interface PageColumns extends Omit<Columns, 'values'> {
  readonly columns: Readonly<Record<typeof SORTED_COLUMNS[number][number], Float64Array>>
  /** As many values, all the same. */
  readonly equal: Float64Array
  /** Slots in use, from 0. */
  readonly size: number
}

/** A search in the order of devices. */
export interface OrderSearch extends Omit<LatestSearch, 'after'> {
  readonly after?: Pick<Keyset, 'key' | 'device'> & {
    /** Of the walk's first page. */
    readonly moment: number
  } | undefined
}

/** The devices of a page. */
export interface PickedPage {
  readonly devices: string[]
  /** Devices that match the filter. */
  readonly total: number
  /** Where the page ends; `null` on the last one. */
  readonly end: Pick<Keyset, 'key' | 'device'> | null
}

/**
 * The devices of a page, in order; `null` in the improbable case that every sample misses. Behind a cursor a device
 * whose value changed since the walk began is left out, because it may have been on a page before.
 */
export function pickPage (
  { devices, ranks, columns, equal, size }: PageColumns, search: OrderSearch
): PickedPage | null {
  const { sortBy, after } = search
  const isById = sortBy === 'deviceId'
  const isDescending = search.orderBy === 'desc'
  const byColumn = { devices, ranks, values: isById ? equal : columns[SORTS[sortBy][0]] }
  const matching = matchFilter(byColumn, columns.times, size, search)
  const slots = after === undefined
    ? matching
    : matchBehind(byColumn, matching, size, {
      device: after.device,
      key: isById ? 0 : after.key,
      moment: after.moment,
      moves: isById ? null : columns[SORTS[sortBy][1]],
      isDescending: isDescending && !isById,
      isIdDescending: isDescending && isById
    })
  const length = slots?.length ?? size
  const to = Math.min(search.offset + search.count, length)
  const from = Math.min(search.offset, length)
  // Devices with equal values are ordered by id, ascending in both directions. So descending pages by id are cut from
  // the other end.
  const isCutFromEnd = isById && isDescending
  const picked = selectSlots(byColumn, size, {
    slots, offset: isCutFromEnd ? length - to : from, count: to - from, isDescending: isDescending && !isById
  })
  if (picked === null) return null
  if (isCutFromEnd) picked.reverse()
  const last = picked.at(-1)
  return {
    devices: picked.map((slot) => devices[slot]!),
    total: matching?.length ?? size,
    end: last === undefined || to === length
      ? null
      : { device: devices[last]!, key: isById ? null : toNullable(byColumn.values[last]!) }
  }
}

const toNullable = (value: number) => Number.isNaN(value) ? null : value
