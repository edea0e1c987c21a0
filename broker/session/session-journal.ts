import type { Delivery } from './delivery.ts'

/** Told of each change to the deliveries of persistent sessions, in the same turn. */
export interface SessionJournal {
  /** A delivery is new, has got its packet id, or has lost its message. */
  noted (clientId: string, delivery: Delivery): void
  /** A delivery is over. @param seq - its {@link Delivery.seq} */
  removed (clientId: string, seq: number): void
}
