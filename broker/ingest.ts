import type { Rejection } from '../schemas/rejection.ts'

/** One PUBLISH (or will) below `vital/`, handed to ingest before it is acknowledged. */
export interface VitalPublish {
  readonly topic: string
  /**
   * The topic's device; `null` when the topic is not `vital/{valid id}`, so the payload can only become a dead letter.
   */
  readonly device: string | null
  readonly payload: Buffer
  /** `null` for a will whose client is gone. */
  readonly clientId: string | null
  /**
   * Called exactly once, possibly before {@link Ingest} returns, and in any order between publishes; `durable` only
   * after COMMIT (or the spool's fsync), because it acknowledges.
   */
  settle (verdict: Verdict): void
}

/**
 * Why a publish could not be made durable. MQTT 3.1.1 has no way to tell the client; a protocol with reason codes maps
 * each.
 * - `timeout`: neither PostgreSQL nor the spool took it within `VITAL_ACK_TIMEOUT_MS`
 * - `failed`: its batch was given up
 * - `stopping`: the gateway stops
 */
export type UnavailableReason = 'timeout' | 'failed' | 'stopping'

/** The outcome of a {@link VitalPublish}. */
export type Verdict =
  | {
    readonly status: 'durable'
    /**
     * What subscribers of the topic may see: the payload itself, an array of its good elements, or `null` for nothing.
     */
    readonly fanOut: Buffer | null
    /** Announced on `vital/{device}/rejected`; empty when all was good. */
    readonly rejections: readonly Rejection[]
    /** Readings of the payload, bad ones included. */
    readonly elements: number
    /** Whether each rejected one is kept as a dead letter. */
    readonly isKept: boolean
  }
  /** Must not be acknowledged: its connection is closed, so that the device keeps the message. */
  | { readonly status: 'unavailable', readonly reason: UnavailableReason }

/** Makes a publish durable, and settles it. */
export type Ingest = (publish: VitalPublish) => void
