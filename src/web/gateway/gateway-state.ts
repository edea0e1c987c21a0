/** The answer of `/app/status.json`. */
export interface Status {
  readonly nowMs: number
  readonly ready: boolean
  readonly database: { readonly status: 'up' | 'down', readonly circuit?: string, readonly downForS?: number }
  readonly spool: { readonly status: string, readonly bytes: number, readonly bytesMax: number, readonly readings?: number }
  readonly warnings: readonly string[]
  readonly isPlaying: boolean
  readonly samples: Readonly<Record<string, number>>
}

export interface Flow {
  readonly received: number
  readonly stored: number
  readonly duplicate: number
  readonly deadLettered: number
  readonly refused: number
  readonly pending: number
}

/** Rates and latencies count over this many answers. */
const WINDOW = 5
/** Ten minutes of answers. */
const TREND_MAX = 300

/** One answer compared with the one before. */
export interface TrendPoint {
  readonly atS: number
  /** Readings a second. */
  readonly receivedPerS: number
  /** `null` where nothing was acknowledged. */
  readonly p99S: number | null
  /** Readings in the spool. */
  readonly waiting: number
}

/** Follows the gateway from answer to answer. */
export function createGatewayState () {
  const history: Status[] = []
  let trend: TrendPoint[] = []
  let missingSinceMs: number | null = null

  const sum = (status: Status, name: string) => Object.entries(status.samples)
    .reduce((total, [key, value]) => key === name || key.startsWith(`${name}{`) ? total + value : total, 0)

  const toRate = (name: string, first: Status, last: Status) =>
    (sum(last, name) - sum(first, name)) * 1000 / (last.nowMs - first.nowMs)

  return {
    take (status: Status): void {
      missingSinceMs = null
      // After a restart the counters begin anew.
      const startOf = (answer: Status | undefined) => answer?.samples['vital_start_time_seconds']
      if (startOf(history.at(-1)) !== startOf(status)) history.length = 0
      const before = history.at(-1)
      history.push(status)
      if (before !== undefined && status.nowMs > before.nowMs) {
        trend = [...trend.slice(1 - TREND_MAX), {
          atS: status.nowMs / 1000,
          receivedPerS: toRate('vital_readings_received_total', before, status),
          p99S: toQuantile(before.samples, status.samples, 0.99),
          waiting: status.samples['vital_spool_readings'] ?? 0
        }]
      }
      if (history.length > WINDOW) history.shift()
    },
    miss (nowMs: number): void { missingSinceMs ??= nowMs },
    get latest (): Status | null { return history.at(-1) ?? null },
    /** Unix milliseconds since which the gateway has not answered; `null` while it does. */
    get missingSinceMs (): number | null { return missingSinceMs },

    /** Since the page was opened, the oldest first. */
    get trend (): readonly TrendPoint[] { return trend },

    /** Rate of a counter a second; `null` until two answers came. */
    rate (name: string): number | null {
      const [first, last] = [history[0], history.at(-1)]
      if (first === undefined || last === undefined || last.nowMs <= first.nowMs) return null
      return toRate(name, first, last)
    },

    /** Quantile of the acknowledgement latency in seconds over the window; `null` where nothing was acknowledged. */
    latencyS (quantile: number): number | null {
      const [first, last] = [history[0], history.at(-1)]
      if (first === undefined || last === undefined) return null
      return toQuantile(first.samples, last.samples, quantile)
    },

    get flow (): Flow | null {
      const last = history.at(-1)
      if (last === undefined) return null
      const count = (name: string) => sum(last, `vital_readings_${name}_total`)
      return {
        received: count('received'),
        stored: count('stored'),
        duplicate: count('duplicate'),
        deadLettered: count('dead_lettered'),
        refused: count('refused'),
        pending: last.samples['vital_readings_pending'] ?? 0
      }
    }
  }
}

type Samples = Status['samples']

function toQuantile (first: Samples, last: Samples, quantile: number): number | null {
  const counts = new Map<number, number>()
  for (const [key, value] of Object.entries(last)) {
    const le = /^vital_ack_duration_seconds_bucket\{.*le="([^"]+)"/.exec(key)?.[1]
    if (le === undefined) continue
    const bound = le === '+Inf' ? Infinity : Number(le)
    counts.set(bound, (counts.get(bound) ?? 0) + value - (first === last ? 0 : first[key] ?? 0))
  }
  const bounds = [...counts].sort(([a], [b]) => a - b)
  const total = bounds.at(-1)?.[1] ?? 0
  if (total === 0) return null
  let [lowBound, lowCount] = [0, 0]
  for (const [bound, count] of bounds) {
    if (count >= quantile * total) {
      if (bound === Infinity) return lowBound
      return lowBound + (bound - lowBound) * (quantile * total - lowCount) / Math.max(1, count - lowCount)
    }
    [lowBound, lowCount] = [bound, count]
  }
  return null
}
