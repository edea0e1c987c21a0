import type { Fault } from '../schemas/fault.ts'
import type { Reason } from '../schemas/reason.ts'
import type { Transport } from '../schemas/transport.ts'

/** One validated reading, ready to be stored. Identity: `device`, `timeUs`, `hash`. */
export interface ReadingRow {
  readonly device: string
  /** Unix microseconds, a whole number. */
  readonly timeUs: number
  /** First 16 bytes of the SHA-256 of `vitals`, one byte a character (latin1). */
  readonly hash: string
  /** The reading without `device` and `timestamp`, as canonical JSON (keys sorted). */
  readonly vitals: string
  /** The same, parsed; `device` and `timestamp` may be among them, and are ignored. */
  readonly fields: Readonly<Record<string, unknown>>
  /** Unix milliseconds at which the gateway received it. */
  readonly receivedAtMs: number
}

/** One input that was refused, kept whole. */
export interface DeadLetterRow {
  /** UUID given by the gateway, so that a batch can be retried without doubling its letters. */
  readonly id: string
  readonly receivedAtMs: number
  readonly transport: Transport
  readonly topic: string | null
  readonly clientId: string | null
  readonly device: string | null
  readonly reason: Reason
  readonly errors: readonly Fault[]
  readonly payload: Buffer
}
