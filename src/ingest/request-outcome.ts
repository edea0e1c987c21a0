import type { Fault } from '../../schemas/fault.ts'
import type { FieldReadings } from './decode-fields.ts'
import type { PostOutcome } from './post-outcome.ts'

/** One request over gRPC. */
export interface IncomingRequest {
  /** Its readings, or the fault of bytes that hold none. */
  readonly readings: FieldReadings | { readonly fault: Fault }
  /** Charged against the bound of the buffer. */
  readonly bytes: number
  /** The one device whose readings the sender may bring; `null`: every device. */
  readonly onlyDevice: string | null
  /**
   * Whether it comes from a stream. It is accepted even if the buffer is full, because the stream is then not read
   * further.
   */
  readonly isStreamed: boolean
}

/** The outcome of one request: as over HTTP, and whether everything in it was stored before. */
export type RequestOutcome =
  | Exclude<PostOutcome, { readonly status: 'durable' }>
  | Extract<PostOutcome, { readonly status: 'durable' }> & { readonly isDuplicate: boolean }

/**
 * Makes the readings of a request durable, all or none.
 * @param settle - called exactly once, possibly before `AcceptRequest` returns
 */
export type AcceptRequest = (request: IncomingRequest, settle: (outcome: RequestOutcome) => void) => void
