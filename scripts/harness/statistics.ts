/** The middle and the ends of some measurements. */
export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

/**
 * Median, smallest and largest of `values`; an even count gives the mean of the two in the middle.
 * @throws RangeError when `values` is empty
 */
export function toSpread (values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b)
  const upper = sorted[sorted.length >> 1]
  const lower = sorted[(sorted.length - 1) >> 1]
  const min = sorted[0]
  const max = sorted.at(-1)
  if (upper === undefined || lower === undefined || min === undefined || max === undefined) {
    throw new RangeError('the spread of no values')
  }
  return { median: (lower + upper) / 2, min, max }
}

/** Values below this have a bucket each; above it a power of two has {@link SUB_BUCKETS}, so the error stays under 0.8 %. */
const EXACT_MAX = 256
const SUB_BUCKETS = 128
const VALUE_MAX = 0x7fff_ffff

/**
 * A log-linear histogram of whole numbers from 0 to 2^31 - 1 (microseconds here, so up to 35 minutes): recording is a
 * few instructions and no allocation, so that it can run for every message without slowing the load generator.
 */
export class Histogram {
  #counts = new Float64Array(EXACT_MAX + (31 - 8) * SUB_BUCKETS)
  #total = 0

  get total (): number {
    return this.#total
  }

  record (value: number): void {
    const whole = value > 0 ? Math.min(Math.round(value), VALUE_MAX) : 0
    const index = toBucket(whole)
    this.#counts[index] = (this.#counts[index] ?? 0) + 1
    this.#total++
  }

  /**
   * The largest value that the bucket holding the `share`th value stands for; 0 when nothing was recorded.
   * @param share - 0 to 1, for example 0.999
   */
  percentile (share: number): number {
    const rank = Math.max(1, Math.ceil(share * this.#total))
    let seen = 0
    for (let index = 0; index < this.#counts.length; index++) {
      seen += this.#counts[index] ?? 0
      if (seen >= rank) return toBucketMax(index)
    }
    return 0
  }
}

function toBucket (value: number): number {
  if (value < EXACT_MAX) return value
  const exponent = 31 - Math.clz32(value)
  return EXACT_MAX + (exponent - 8) * SUB_BUCKETS + ((value >>> (exponent - 7)) & (SUB_BUCKETS - 1))
}

function toBucketMax (index: number): number {
  if (index < EXACT_MAX) return index
  const exponent = 8 + Math.floor((index - EXACT_MAX) / SUB_BUCKETS)
  const sub = (index - EXACT_MAX) % SUB_BUCKETS
  return (SUB_BUCKETS + sub + 1) * 2 ** (exponent - 7) - 1
}
