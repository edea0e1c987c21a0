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

/** One listener: how far it has come. Changed by `delivery.ts`; its expiry by `listeners.ts`. */
export class Listener {
  readonly filter: EventFilter
  readonly principal: Principal | null
  readonly sink: EventSink
  expiresAtMs: number
  /** Each of its events below this number was sent, or is counted in `missed`. */
  cursor: number
  /** Numbers of its events from `cursor` on; `null`: it has to look for them. */
  noted: number[] | null = null
  /** Events that it is to be told it missed; NaN: it is not known how many, or whether any. */
  missed: number
  isStalled = false
  /** Bytes that its socket has not taken, as of the last look. */
  unsentBytes = 0
  /** Monotonic: since when that has not become less. */
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
