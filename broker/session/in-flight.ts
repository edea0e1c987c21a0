import { PACKET_ID_MAX } from '../wire/fields.ts'
import type { Delivery } from './delivery.ts'

/**
 * The deliveries of one session that have begun, by packet id, in the order in which they were sent. The packet ids of
 * publishes that its client sends at QoS 2 are in `sessions.ts` (`inbound`).
 */
export class InFlight {
  // Most sessions belong to devices that receive nothing, so it is made when it is needed.
  #deliveries: Map<number, Delivery> | null = null
  #lastPacketId = 0

  get size (): number {
    return this.#deliveries?.size ?? 0
  }

  get (packetId: number): Delivery | undefined {
    return this.#deliveries?.get(packetId)
  }

  /** A copy of the deliveries. */
  toArray (): Delivery[] {
    return [...this.#deliveries?.values() ?? []]
  }

  /** Gives a delivery the next free packet id. */
  add (delivery: Delivery): void {
    const deliveries = this.#deliveries ??= new Map()
    do this.#lastPacketId = this.#lastPacketId % PACKET_ID_MAX + 1
    while (deliveries.has(this.#lastPacketId))
    delivery.packetId = this.#lastPacketId
    deliveries.set(delivery.packetId, delivery)
  }

  /** A delivery that has begun elsewhere, under its packet id. */
  restore (delivery: Delivery): void {
    (this.#deliveries ??= new Map()).set(delivery.packetId, delivery)
    this.#lastPacketId = delivery.packetId
  }

  remove (packetId: number): void {
    this.#deliveries?.delete(packetId)
  }

  /** PUBRELs that are sent again are sent in the order of PUBRECs [MQTT-4.6.0-4]. */
  moveLast (delivery: Delivery): void {
    this.#deliveries?.delete(delivery.packetId)
    this.#deliveries?.set(delivery.packetId, delivery)
  }

  clear (): void {
    this.#deliveries = null
  }
}
