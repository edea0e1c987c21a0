/**
 * A map with a bound: beyond it the entry that was not used for longest goes.
 *
 * An entry moves to the young end when it is read, but only while the map is more than half full: below that nothing is
 * about to go, and a read costs one look-up instead of three.
 */
export class LruMap<K, V> {
  readonly #entries = new Map<K, V>()
  readonly #sizeMax: number
  readonly #onEvict: ((value: V, key: K) => void) | undefined

  constructor ({ sizeMax, onEvict }: { sizeMax: number, onEvict?: (value: V, key: K) => void }) {
    this.#sizeMax = sizeMax
    this.#onEvict = onEvict
  }

  get size (): number {
    return this.#entries.size
  }

  get (key: K): V | undefined {
    const value = this.#entries.get(key)
    if (value !== undefined && this.#entries.size * 2 > this.#sizeMax) {
      this.#entries.delete(key)
      this.#entries.set(key, value)
    }
    return value
  }

  set (key: K, value: V): void {
    this.#entries.delete(key)
    this.#entries.set(key, value)
    if (this.#entries.size <= this.#sizeMax) return
    const [oldest, evicted] = this.#entries.entries().next().value as [K, V]
    this.#entries.delete(oldest)
    this.#onEvict?.(evicted, oldest)
  }

  /** @returns what was there */
  delete (key: K): V | undefined {
    const value = this.#entries.get(key)
    this.#entries.delete(key)
    return value
  }

  clear (): void {
    this.#entries.clear()
  }
}
