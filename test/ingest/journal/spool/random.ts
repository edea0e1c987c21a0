import { createRandom } from '../../../helpers/random.ts'

/** What schedules and payloads are drawn from; repeatable from its seed. */
export class Random {
  /** 0 to 1, without 1. */
  readonly next: () => number

  constructor (seed: number) {
    this.next = createRandom(seed)
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
