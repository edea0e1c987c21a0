/** A small seeded generator (mulberry32), so that a failure can be run again from its seed. */
export class Random {
  #state: number

  constructor (seed: number) {
    this.#state = seed >>> 0
  }

  /** 0 to 1, without 1. */
  next (): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  /** 0 to `end`, without `end`. */
  below (end: number): number {
    return Math.floor(this.next() * end)
  }

  chance (probability: number): boolean {
    return this.next() < probability
  }

  pick<Item> (items: readonly Item[]): Item {
    return items[this.below(items.length)]!
  }

  bytes (length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)))
  }
}
