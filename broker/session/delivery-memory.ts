/** A session that holds deliveries. */
export interface Holder {
  /** Of all its deliveries. */
  readonly bytes: number
  /** Drops its newest messages until it holds no more than `bytesMax`, or nothing is left to drop. */
  trim (bytesMax: number): void
}

/**
 * The memory of all sessions' deliveries.
 *
 * Below the bound each session takes what it needs. At the bound the sessions share it evenly: those above their share
 * lose their newest messages, and a session below it gets room. So sessions whose clients never return or never
 * acknowledge cannot take the messages of others. A delivery in flight keeps its packet id after its message was
 * dropped, so up to twice the bound may be held.
 */
export class DeliveryMemory {
  readonly #bytesMax: number
  readonly #holders = new Set<Holder>()
  messages = 0
  bytes = 0

  constructor (bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** Adds to what is held; negative numbers take away. */
  count (messages: number, bytes: number): void {
    this.messages += messages
    this.bytes += bytes
  }

  /** A session begins or ceases to hold deliveries. */
  setHolding (holder: Holder, isHolding: boolean): void {
    if (isHolding) this.#holders.add(holder)
    else this.#holders.delete(holder)
  }

  /** Makes room for a delivery if the session may have it. @returns whether there is room */
  makeRoom (holder: Holder, bytes: number): boolean {
    if (this.bytes + bytes <= this.#bytesMax) return true
    const share = this.#bytesMax / (this.#holders.size + (holder.bytes === 0 ? 1 : 0))
    if (holder.bytes + bytes > share) return false
    for (const other of this.#holders) if (other.bytes > share) other.trim(share)
    return this.bytes + bytes <= 2 * this.#bytesMax
  }
}
