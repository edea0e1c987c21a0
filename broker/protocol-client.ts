import type { CloseReason } from '../schemas/close-reason.ts'
import type { UnavailableReason } from './ingest.ts'
import type { Will } from './wills/will.ts'

/** One end of a connection: what the broker needs of the code that speaks its version of MQTT. */
export interface ProtocolClient {
  /** 4: MQTT 3.1 and 3.1.1, spoken by Aedes. */
  readonly protocolLevel: 4 | 5
  readonly id: string
  /** Its session begins and ends with its connection. */
  readonly clean: boolean
  /** It does not want its earlier session. */
  readonly cleanStart: boolean
  readonly closed: boolean
  /** Whether it has sent DISCONNECT. */
  readonly hasDisconnected: boolean
  /** Published when it goes without a DISCONNECT; `null`: none. The same object each time. */
  readonly will: Will | null
  /** How long its will waits once the connection is lost, in ms: until its session ends, at most. */
  readonly willDelayMs: number
  /** Its will is not published. */
  dropWill (): void
  /** Reads its socket now. */
  readOn (): void
  /** Counts packets as a sign of life. */
  refreshKeepalive (): void
  /**
   * Calls back once its socket takes more, or with an error once it is closed. A client whose socket takes nothing for
   * `drainTimeoutMs` is closed.
   */
  whenDrained (callback: (error?: Error | null) => void): void
  /** Handles none of its packets any more. */
  close (): void
  /**
   * Closes its connection. A protocol with reason codes tells the client why.
   * @param unavailable - why a publish could not be stored, where that is the reason
   */
  end (reason: CloseReason, unavailable: UnavailableReason | null): void
}
