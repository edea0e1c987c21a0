import type { Fault } from '../../schemas/fault.ts'
import type { Reason } from '../../schemas/reason.ts'

/** The outcome of the body of one `POST /vital-data`. */
export type PostOutcome =
  /** After COMMIT, the spool's fsync or Kafka's acknowledgement: answered 202. `isStored`: a read of PostgreSQL finds it. */
  | { readonly status: 'durable', readonly isStored?: boolean }
  /** Refused whole, nothing of it stored as a reading: answered 400. */
  | { readonly status: 'invalid', readonly reason: Reason, readonly errors: readonly Fault[] }
  /** One of the readings belongs to another device: answered 403, nothing of the body stored. */
  | { readonly status: 'forbidden' }
  /** Could not be made durable in time: answered 503. */
  | { readonly status: 'unavailable' }
  /** The buffer is full: answered 429, and the body was not accepted. */
  | { readonly status: 'overloaded' }

/**
 * Makes the readings of a body durable, all or none.
 * @param payload - the body as it came; never empty, at most `bodyBytesMax`
 * @param settle - called exactly once, possibly before `AcceptPost` returns
 * @param onlyDevice - the one device whose readings the sender may bring; `null`: every device
 */
export type AcceptPost = (payload: Buffer, settle: (outcome: PostOutcome) => void, onlyDevice: string | null) => void
