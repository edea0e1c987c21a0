/** Lines of what waits, one for each key. Turns go round by key, so that a long line delays another by one turn. */
export class Lines<T> {
  /** The key whose turn is next first. */
  readonly #lines = new Map<string, T[]>()
  #size = 0

  get size (): number {
    return this.#size
  }

  lengthOf (key: string): number {
    return this.#lines.get(key)?.length ?? 0
  }

  add (key: string, item: T): void {
    const line = this.#lines.get(key)
    if (line === undefined) this.#lines.set(key, [item])
    else line.push(item)
    this.#size++
  }

  /**
   * Takes out whose turn it is.
   * @param isWanted - one that is not is dropped
   * @param isOpen - lines that are not keep their place
   */
  next (isWanted: (item: T) => boolean, isOpen: (key: string) => boolean = () => true): T | undefined {
    for (const [key, line] of this.#lines) {
      if (!isOpen(key)) continue
      const at = line.findIndex(isWanted)
      const taken = line.splice(0, at === -1 ? line.length : at + 1)
      this.#size -= taken.length
      this.#lines.delete(key)
      if (at === -1) continue
      // To the end of the round.
      if (line.length > 0) this.#lines.set(key, line)
      return taken[at]
    }
    return undefined
  }

  /** Takes out everything. */
  * drain (): Generator<T> {
    for (const line of this.#lines.values()) yield * line
    this.#lines.clear()
    this.#size = 0
  }
}
