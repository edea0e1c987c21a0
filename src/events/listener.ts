import type { ServerResponse } from 'node:http'
import type { Principal } from '../../schemas/principal.ts'
import type { EventFilter } from './event-filter.ts'

/** A response whose headers are sent. */
export type EventSink = Pick<ServerResponse, 'write' | 'end' | 'destroy' | 'on' | 'writableLength'>

interface ListenerOptions {
  readonly filter: EventFilter
  /** `null` in the open mode. */
  readonly principal: Principal | null
  /** Unix milliseconds at which its credentials end; infinite for most. */
  readonly expiresAtMs: number
  readonly sink: EventSink
  /** Number of the first event that it is to get. */
  readonly cursor: number
  readonly missed: number
}

/** One listener and its progress. Changed by `delivery.ts`; its expiry by `listeners.ts`. */
export class Listener {
  readonly filter: EventFilter
  readonly principal: Principal | null
  readonly sink: EventSink
  expiresAtMs: number
  /** Each of its events below this number was sent, or is counted in `missed`. */
  cursor: number
  /** Numbers of its events from `cursor` on; `null`: it has to search the ring. */
  noted: number[] | null = null
  /** Missed events that it has yet to be told of; NaN: their number is not known, and may be 0. */
  missed: number
  isStalled = false
  /** Bytes that its socket had not taken at the last check. */
  unsentBytes = 0
  /** Monotonic time since which `unsentBytes` has not become less. */
  stalledAtMs = 0
  wroteAtMs = 0
  isClosed = false

  constructor ({ filter, principal, expiresAtMs, sink, cursor, missed }: ListenerOptions) {
    this.filter = filter
    this.principal = principal
    this.expiresAtMs = expiresAtMs
    this.sink = sink
    this.cursor = cursor
    this.missed = missed
  }
}
