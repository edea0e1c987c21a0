import type { Violation } from '../harness/checks/stored.ts'

/** The result of a fault's run. */
export interface Outcome {
  readonly fault: string
  readonly cycles: number
  readonly sent: number
  readonly acknowledged: number
  readonly resent: number
  readonly lost: number
  readonly duplicated: number
  readonly slowestAckMs: number
  readonly recoveryMs: number
  readonly peakRssBytes: number
  readonly figures: Readonly<Record<string, number | string>>
  /** Figures with their bounds, as text. */
  readonly verdicts: readonly string[]
  readonly violations: readonly Violation[]
}
