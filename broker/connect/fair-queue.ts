/** Queues by key. Turns go round by key, so that a long queue delays another by one turn. */
export class FairQueue<T> {
  /** In the order of their turns. */
  readonly #queues = new Map<string, T[]>()
  #size = 0

  /** Items of all keys. */
  get size (): number {
    return this.#size
  }

  lengthOf (key: string): number {
    return this.#queues.get(key)?.length ?? 0
  }

  add (key: string, item: T): void {
    const queue = this.#queues.get(key)
    if (queue === undefined) this.#queues.set(key, [item])
    else queue.push(item)
    this.#size++
  }

  /**
   * Takes out the item whose turn it is.
   * @param isWanted - items for which it is false are dropped
   * @param isOpen - keys for which it is false keep their places
   */
  next (isWanted: (item: T) => boolean, isOpen: (key: string) => boolean = () => true): T | undefined {
    for (const [key, queue] of this.#queues) {
      if (!isOpen(key)) continue
      const at = queue.findIndex(isWanted)
      const taken = queue.splice(0, at === -1 ? queue.length : at + 1)
      this.#size -= taken.length
      this.#queues.delete(key)
      if (at === -1) continue
      // To the end of the round.
      if (queue.length > 0) this.#queues.set(key, queue)
      return taken[at]
    }
    return undefined
  }

  /** Takes out everything. */
  * drain (): Generator<T> {
    for (const queue of this.#queues.values()) yield * queue
    this.#queues.clear()
    this.#size = 0
  }
}
