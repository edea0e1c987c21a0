import type { Principal } from '../../schemas/principal.ts'
import type { QoS } from '../session/delivery.ts'

/** A will message: what is published for a client that goes without a DISCONNECT. */
export interface Will {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
  /** Message Expiry Interval, in seconds from its publication; `null`: none, as with MQTT 3.1.1. */
  readonly messageExpiryS: number | null
  /** Encoded properties that subscribers get unaltered, in the order in which they came; `null`: none. */
  readonly forwarded: Buffer | null
}

/** A will with all that another gateway needs to publish it. */
export interface KeptWill {
  /** The same object until anything of the will changes. */
  readonly source: object
  readonly will: Will
  /** Its client speaks MQTT 5. */
  readonly isMqtt5: boolean
  /** Milliseconds that it waits once its connection is lost; 0 with MQTT 3.1.1. */
  readonly delayMs: number
  /** When it is published, by `performance.now()`; `null`: its client is connected. */
  readonly dueMs: number | null
  readonly principal: Principal | null
  /** Unix milliseconds at which the credentials of its client end; infinite for most. */
  readonly expiresAtMs: number
}

/** The wills of a gateway, as a cluster sees them. */
export interface KeptWills {
  /** Wills of clients of dead gateways that were published here, since the start. */
  readonly published: number
  /** The will of a client that is connected here, or that waits here for its delay; `null`: none. */
  of (clientId: string): KeptWill | null
  /** Whether so many further wills may wait here, of so many bytes. */
  admits (count: number, bytes: number): boolean
  /** Lets a will of a dead gateway wait here until it is due. */
  wait (clientId: string, kept: KeptWill): void
  /**
   * Publishes a will of a dead gateway, unless its principal may not publish any more.
   * @returns settles once subscribers have it, or it is dropped; not where it cannot be stored
   */
  publish (clientId: string, kept: KeptWill): Promise<void>
  /**
   * Another gateway has published the will of a client. It is dropped here, and the client is closed, so that it comes
   * back with a will.
   */
  give (clientId: string): void
}

/** Bytes that a will keeps in memory. */
export function toWillBytes ({ topic, payload, forwarded }: Will): number {
  return topic.length * 2 + payload.length + (forwarded?.length ?? 0)
}
