import type { Delivery } from './delivery.ts'

/** The deliveries of one session that have not begun, in order. */
export class DeliveryQueue {
  // Most sessions belong to devices that receive nothing, so it is made when it is needed.
  #deliveries: Delivery[] | null = null
  #bytes = 0

  get length (): number {
    return this.#deliveries?.length ?? 0
  }

  get bytes (): number {
    return this.#bytes
  }

  get first (): Delivery | undefined {
    return this.#deliveries?.[0]
  }

  push (delivery: Delivery): void {
    (this.#deliveries ??= []).push(delivery)
    this.#bytes += delivery.bytes
  }

  shift (): void {
    this.#bytes -= this.#deliveries?.shift()?.bytes ?? 0
  }

  /** Takes the newest. */
  pop (): Delivery | undefined {
    const delivery = this.#deliveries?.pop()
    this.#bytes -= delivery?.bytes ?? 0
    return delivery
  }

  /** @returns those that were taken out */
  takeOut (isMeant: (delivery: Delivery) => boolean): Delivery[] {
    const taken = this.#deliveries?.filter(isMeant) ?? []
    if (taken.length === 0) return taken
    this.#deliveries = this.#deliveries!.filter((delivery) => !isMeant(delivery))
    for (const { bytes } of taken) this.#bytes -= bytes
    return taken
  }

  /** A copy of the queue. */
  toArray (): Delivery[] {
    return [...this.#deliveries ?? []]
  }

  clear (): void {
    this.#deliveries = null
    this.#bytes = 0
  }
}
