import { setTimeout as sleep } from 'node:timers/promises'
import type { LoadReport } from './messages.ts'

/** A loop that is sending. */
export interface Loop {
  /** Readings answered so far. */
  readonly readingsAcked: () => number
  readonly readingsSent: () => number
  /**
   * Stops sending and waits until everything is answered.
   * @throws when nothing is answered for `STALL_MAX_MS`
   */
  readonly drain: () => Promise<void>
  readonly latencies: () => Pick<LoadReport, 'latencyMs' | 'sendLagP99Ms'>
}

/** Longer than the gateway's default `VITAL_ACK_TIMEOUT_MS`: a server silent for this long has lost something. */
const STALL_MAX_MS = 15_000

/**
 * Waits until nothing is unanswered.
 * @throws when the count stands still for `STALL_MAX_MS`
 */
export async function untilNone (unanswered: () => number): Promise<void> {
  let last = unanswered()
  let movedMs = performance.now()
  while (last > 0) {
    await sleep(5)
    const now = unanswered()
    if (now !== last) movedMs = performance.now()
    else if (performance.now() - movedMs > STALL_MAX_MS) throw new Error(`${now} packets were never acknowledged`)
    last = now
  }
}
