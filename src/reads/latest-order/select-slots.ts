/**
 * The slots of one page, without sorting all of them.
 *
 * A sample gives two bounds that enclose the page with high probability. One pass counts the slots before the lower
 * bound and collects those between, some hundred slots of a million; these are selected from in the same way until they
 * are few enough to be sorted. The count shows a sample that missed, and another one is taken. Bounds are slots and not
 * values, so that they cut through any number of equal values too. A heap of the page's size was considered: it is as
 * good for first pages of shuffled values, but takes each slot where values ascend with the slots, as times do when
 * devices send in turn, and does not help deep pages.
 * @see Floyd, Rivest: "Expected time bounds for selection", CACM 18 (1975)
 */
import { compareDevices } from './compare-devices.ts'

/** Marks a device without a rank: such a device is compared by its id. */
export const UNRANKED = 0xffffffff

/** Columns by slot. */
export interface Columns {
  readonly devices: readonly string[]
  /** The sort values; NaN is null. */
  readonly values: Float64Array
  /** Position of a device among all by its id. */
  readonly ranks: Uint32Array
}

export interface PageBounds {
  /** Those to select from; `null` for all. */
  readonly slots?: readonly number[] | null
  readonly offset: number
  readonly count: number
  readonly isDescending: boolean
}

type Compare = (a: number, b: number) => number

const SAMPLE = 512
/** A page is missed by a sample once in some ten thousand times. */
const DEVIATIONS = 4
/** Below, sorting costs as much as another sample. */
const SORTED_MAX = 1024
/** A fiftieth of a million. */
const CANDIDATES_MAX = 20_000
/** Samples that may miss one after the other, before the page is left to the database. */
const SAMPLES_MAX = 5

/**
 * @param size - slots in use, from 0
 * @param random - in [0, 1), for the samples
 * @returns slots in order: nulls last in both directions, ties by device; `null` in the improbable case that no sample
 *   served
 */
export function selectSlots (
  columns: Columns, size: number, { slots: given = null, offset, count, isDescending }: PageBounds, random: () => number = Math.random
): number[] | null {
  const compare = createComparison(columns, isDescending)
  const end = Math.min(offset + count, given?.length ?? size)
  if (offset >= end) return []
  let slots = given
  let from = offset
  for (let missed = 0; missed < SAMPLES_MAX; missed++) {
    const length = slots?.length ?? size
    if (length <= SORTED_MAX) {
      const sorted = slots === null ? Array.from({ length }, (_, slot) => slot) : slots.slice()
      return sorted.sort(compare).slice(from, from + end - offset)
    }
    const sample = takeSample(slots, length, random).sort(compare)
    const [low, high] = chooseBounds(sample, length, from, from + end - offset)
    const { between, before } = collect(columns, isDescending, slots, length, low, high)
    if (before > from || before + between.length < from + end - offset || between.length === length) continue
    slots = between
    from -= before
    missed = -1
  }
  return null
}

function createComparison ({ devices, values, ranks }: Columns, isDescending: boolean): Compare {
  return (a, b) => {
    const left = toKey(values[a]!, isDescending)
    const right = toKey(values[b]!, isDescending)
    if (left !== right) return left < right ? -1 : 1
    return compareRanks(devices, ranks, a, b)
  }
}

/** Smaller is earlier on the pages. */
export function toKey (value: number, isDescending: boolean): number {
  if (value !== value) return Infinity // eslint-disable-line no-self-compare -- twice as fast as Number.isNaN here
  return isDescending ? -value : value
}

function compareRanks (devices: readonly string[], ranks: Uint32Array, a: number, b: number): number {
  const left = ranks[a]!
  const right = ranks[b]!
  if (left === UNRANKED || right === UNRANKED) return compareDevices(devices[a]!, devices[b]!)
  return left - right
}

/** One slot of each stretch, at random, so that no order of the slots spoils every sample. */
function takeSample (slots: readonly number[] | null, length: number, random: () => number): number[] {
  return Array.from({ length: SAMPLE }, (_, index) => {
    const at = Math.floor((index + random()) * length / SAMPLE)
    return slots === null ? at : slots[at]!
  })
}

/** Slots of the sample, which is sorted, that enclose the page; `-1` where there is none on that side. */
function chooseBounds (
  sample: readonly number[], length: number, from: number, to: number
): [low: number, high: number] {
  const place = (position: number) => position / length * SAMPLE
  const margin = (position: number) => 2 + DEVIATIONS * Math.sqrt(position / length * (1 - position / length) * SAMPLE)
  return [sample[Math.floor(place(from) - margin(from))] ?? -1, sample[Math.ceil(place(to) + margin(to))] ?? -1]
}

/**
 * Slots whose values are at or before `bound`, in a quarter of the time of full comparisons; `null` where so many
 * values are equal that it would take longer.
 */
function takeUpTo (values: Float64Array, bound: number, length: number, isDescending: boolean): number[] | null {
  const slots: number[] = []
  for (let slot = 0; slot < length && slots.length <= CANDIDATES_MAX; slot++) {
    if (isDescending ? values[slot]! >= bound : values[slot]! <= bound) slots.push(slot)
  }
  return slots.length > CANDIDATES_MAX ? null : slots
}

/** Slots from `low` to `high`, and how many precede them. */
function collect (
  { devices, values, ranks }: Columns, isDescending: boolean, slots: readonly number[] | null, length: number, low: number, high: number
): { between: number[], before: number } {
  const lowKey = low === -1 ? -Infinity : toKey(values[low]!, isDescending)
  const highKey = high === -1 ? Infinity : toKey(values[high]!, isDescending)
  // A first page has no slots before it, so one comparison excludes a slot.
  if (slots === null && low === -1 && highKey < Infinity) {
    const candidates = takeUpTo(values, values[high]!, length, isDescending)
    if (candidates !== null) {
      return collect({ devices, values, ranks }, isDescending, candidates, candidates.length, low, high)
    }
  }
  const between: number[] = []
  let before = 0
  for (let index = 0; index < length; index++) {
    const slot = slots === null ? index : slots[index]!
    const key = toKey(values[slot]!, isDescending)
    if (key > highKey) continue
    if (key < lowKey || (key === lowKey && low !== -1 && compareRanks(devices, ranks, slot, low) < 0)) before++
    else if (key < highKey || high === -1 || compareRanks(devices, ranks, slot, high) <= 0) between.push(slot)
  }
  return { between, before }
}
