import type { Fault } from '../../schemas/fault.ts'
import type { Reason } from '../../schemas/reason.ts'

/** What became of the body of one `POST /vital-data`. */
export type HttpOutcome =
  /** After COMMIT or the spool's fsync: answered 202. */
  | { readonly status: 'durable' }
  /** Refused whole, nothing of it stored as a reading: answered 400. */
  | { readonly status: 'invalid', readonly reason: Reason, readonly errors: readonly Fault[] }
  /** One of the readings is another device's: answered 403, nothing of it stored. */
  | { readonly status: 'forbidden' }
  /** Could not be made durable in time: answered 503. */
  | { readonly status: 'unavailable' }
  /** At the bound of what may wait for durability: answered 429, without having been taken in. */
  | { readonly status: 'overloaded' }

/**
 * Makes the readings in a body durable, all or none.
 * @param payload - the body as it came; never empty, at most `bodyBytesMax`
 * @param settle - called exactly once, possibly before `HttpIngest` returns
 * @param onlyDevice - the one device whose readings the sender may bring; `null`: of whomever
 */
export type HttpIngest = (payload: Buffer, settle: (outcome: HttpOutcome) => void, onlyDevice: string | null) => void
