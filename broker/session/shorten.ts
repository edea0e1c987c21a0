import type { Delivery } from './delivery.ts'
import type { DeliveryAccount } from './delivery-account.ts'
import type { DeliveryQueue } from './delivery-queue.ts'
import type { InFlight } from './in-flight.ts'

/** The deliveries of one session. */
interface Deliveries {
  readonly account: DeliveryAccount
  readonly queue: DeliveryQueue
  readonly inFlight: InFlight
}

/**
 * Drops deliveries by their topic. The packet id of one that was sent stays taken until its client has released it: at
 * QoS 1 until it is acknowledged or its connection has closed, at QoS 2 until its PUBREL is answered.
 * @returns how many
 */
export function dropByTopic ({ account, queue, inFlight }: Deliveries, isMeant: (topic: string) => boolean): number {
  const isDropped = ({ message }: Delivery) => message !== null && isMeant(message.topic)
  const taken = queue.takeOut(isDropped)
  for (const delivery of taken) account.end(delivery)
  let dropped = taken.length
  for (const delivery of inFlight.toArray()) {
    if (!isDropped(delivery)) continue
    dropped++
    account.forgetMessage(delivery)
  }
  return dropped
}

/** Drops the newest first. What is in flight keeps its packet id; it is not sent again. @param onDrop - called for each */
export function trimTo ({ account, queue, inFlight }: Deliveries, bytesMax: number, onDrop: () => void): void {
  while (account.bytes > bytesMax) {
    const delivery = queue.pop()
    if (delivery === undefined) break
    account.end(delivery)
    onDrop()
  }
  if (account.bytes <= bytesMax) return
  for (const delivery of inFlight.toArray().reverse()) {
    if (account.bytes <= bytesMax) return
    if (delivery.message === null) continue
    account.forgetMessage(delivery)
    onDrop()
  }
}
