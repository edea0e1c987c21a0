/**
 * The slots that match a filter or stand behind a cursor, by passes over columns of numbers: 1 ms each for a million
 * devices.
 *
 * Ids are not compared one by one. A text stands somewhere among the ranked devices; the ranks on both sides of it are
 * found by comparing some hundred ids, and from then on the rank of a device tells on which side it stands. Devices
 * without a rank, which came since the last ranking, are compared.
 */
import { toPrefixEnd } from '../../../schemas/device-id.ts'
import type { LatestSearch } from '../../../db/queries/latest-search.ts'
import { compareDevices } from './compare-devices.ts'
import { type Columns, toKey, UNRANKED } from './select-slots.ts'

/** Slots that are compared first; a thousandth of the others is left to compare, even where ids ascend with slots. */
const SAMPLE = 1024

type Ids = Pick<Columns, 'devices' | 'ranks'>

/** @returns the first rank of a device that stands at `text` or behind it */
function findRank ({ devices, ranks }: Ids, size: number, text: string): number {
  let low = -1
  let high = UNRANKED
  const stride = Math.ceil(size / SAMPLE)
  for (const step of [stride, 1]) {
    for (let slot = 0; slot < size; slot += step) {
      const rank = ranks[slot]!
      if (rank <= low || rank >= high) continue
      if (compareDevices(devices[slot]!, text) >= 0) high = rank
      else low = rank
    }
  }
  return high
}

/**
 * @param times - of the devices' newest readings
 * @param size - slots in use, from 0
 * @returns slots, ascending; `null` without a filter, for all of them
 */
export function matchFilter (
  ids: Ids, times: Float64Array, size: number, { prefix, silentSinceUs = Infinity }: Pick<LatestSearch, 'prefix' | 'silentSinceUs'>
): number[] | null {
  if (prefix === undefined && silentSinceUs === Infinity) return null
  const slots: number[] = []
  if (prefix === undefined) {
    for (let slot = 0; slot < size; slot++) if (times[slot]! <= silentSinceUs) slots.push(slot)
    return slots
  }
  const { devices, ranks } = ids
  const from = findRank(ids, size, prefix)
  const to = findRank(ids, size, toPrefixEnd(prefix))
  for (let slot = 0; slot < size; slot++) {
    const rank = ranks[slot]!
    const isMatching = rank === UNRANKED ? devices[slot]!.startsWith(prefix) : rank >= from && rank < to
    if (isMatching && times[slot]! <= silentSinceUs) slots.push(slot)
  }
  return slots
}

export interface Behind {
  readonly key: number | null
  readonly device: string
  /** The page is sorted by id, descending. */
  readonly isIdDescending: boolean
  readonly isDescending: boolean
  /** Moments in which the values changed; one that changed since `moment` may have been on a page before. */
  readonly moves: Float64Array | null
  readonly moment: number
}

/**
 * @param slots - `null` for all
 * @returns those of `slots` that stand behind the end of a page
 */
export function matchBehind (
  columns: Columns, slots: readonly number[] | null, size: number, behind: Behind
): number[] {
  const { values } = columns
  const { device, isIdDescending, isDescending, moves, moment } = behind
  const key = toKey(behind.key ?? NaN, isDescending)
  const { devices, ranks } = columns
  // By id descending `device` itself, otherwise the text right behind it.
  const bound = isIdDescending ? device : `${device}\u0000`
  const rank = findRank(columns, size, bound)
  const isAtOrBehind = (slot: number) =>
    ranks[slot] === UNRANKED ? compareDevices(devices[slot]!, bound) >= 0 : ranks[slot]! >= rank
  const length = slots?.length ?? size
  const found: number[] = []
  for (let index = 0; index < length; index++) {
    const slot = slots === null ? index : slots[index]!
    if (moves !== null && moves[slot]! >= moment) continue
    const own = toKey(values[slot]!, isDescending)
    if (own > key || (own === key && isAtOrBehind(slot) !== isIdDescending)) found.push(slot)
  }
  return found
}
