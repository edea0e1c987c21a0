import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'

/** Longest acknowledgement time that keeps its value; a longer one counts as this much. */
const LATENCY_MAX_US = 24 * 3600 * 1_000_000

/** A summary of times in milliseconds; `null` without measurements. */
export interface LatencySummary {
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

/**
 * What a fleet has done so far. Of constant size however long the run:
 * times go into a histogram that is exact to three figures, not into a list.
 */
export class Tally {
  /** Readings that the fleet was asked to publish; `Infinity` where they have no end. */
  readonly planned: number
  /** Readings written to a socket at least once. */
  sent = 0
  acknowledged = 0
  /** PUBLISH packets written again with DUP because their acknowledgement never came. */
  resent = 0
  /** Connections beyond each device's first. */
  reconnects = 0
  online = 0
  /** Devices that have a reading due and may not send it: offline, or with too many unacknowledged. */
  blocked = 0
  /** Readings that the gateway acknowledged and then said it had refused. */
  rejected = 0
  /** Reason of the first rejection, as the gateway worded it. */
  firstRejection: string | null = null
  /** Devices that were not allowed to hear about rejections. */
  deaf = 0
  /** The last fault of a connection, for the report of a run that never recovered. */
  lastFault: string | null = null
  readonly #latency: RecordableHistogram = createHistogram({ lowest: 1, highest: LATENCY_MAX_US, figures: 3 })

  constructor (planned: number) {
    this.planned = planned
  }

  get unacknowledged (): number {
    return this.sent - this.acknowledged
  }

  get unsent (): number {
    return this.planned - this.sent
  }

  /** Counts one acknowledgement. @param latencyMs - from the first write of the PUBLISH to its PUBACK */
  acknowledge (latencyMs: number): void {
    this.acknowledged++
    this.#latency.record(Math.min(LATENCY_MAX_US, Math.max(1, Math.round(latencyMs * 1000))))
  }

  latency (): LatencySummary | null {
    if (this.acknowledged === 0) return null
    return {
      p50Ms: this.#latency.percentile(50) / 1000,
      p99Ms: this.#latency.percentile(99) / 1000,
      maxMs: this.#latency.max / 1000
    }
  }
}
