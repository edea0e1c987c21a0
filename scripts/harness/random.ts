/**
 * Numbers that a seed decides (mulberry32): 32 bits of state are ample, and a simulated device costs one number of memory.
 * @see https://gist.github.com/tommyettinger/46a874533244883189143505d203312c
 */
export class Random {
  #state: number

  /** @param seed - whole number; neighbouring seeds give unrelated sequences */
  constructor (seed: number) {
    this.#state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b)
  }

  /** Uniform in [0, 1). */
  next (): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  /** Uniform in [min, max). */
  between (min: number, max: number): number {
    return min + this.next() * (max - min)
  }

  /** Normally distributed with mean 0 and standard deviation 1. */
  normal (): number {
    // Box-Muller; 1 - next() is never 0, whose logarithm would be infinite.
    return Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next())
  }

  /** A whole number in [0, end). */
  below (end: number): number {
    return Math.floor(this.next() * end)
  }

  /** True with this probability. */
  chance (probability: number): boolean {
    return this.next() < probability
  }

  pick<Item> (items: readonly Item[]): Item {
    return items[this.below(items.length)] as Item
  }

  bytes (length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length)
    for (let at = 0; at < length; at++) bytes[at] = this.below(256)
    return bytes
  }
}
