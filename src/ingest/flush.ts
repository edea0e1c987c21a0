/** The state from which the batcher decides. */
export interface FlushState {
  readonly readings: number
  readonly bytes: number
  /** How long the oldest waiting submission has waited. */
  readonly ageMs: number
  readonly batchesInFlight: number
}

export interface FlushLimits {
  readonly batchReadingsMax: number
  readonly batchBytesMax: number
  readonly flushIntervalMs: number
  readonly batchesInFlightMax: number
}

/**
 * When to send the next batch: `0` now, a number of milliseconds to look again, or `null` to wait for a batch in
 * flight. At once when nothing is in flight, else by size, bytes or time; while all lanes are busy the next batch only
 * grows. So batches are small and quick when idle, and large when busy.
 */
export function decideFlush (state: FlushState, limits: FlushLimits): number | null {
  if (state.readings === 0) return null
  if (state.batchesInFlight >= limits.batchesInFlightMax) return null
  if (state.batchesInFlight === 0) return 0
  if (state.readings >= limits.batchReadingsMax || state.bytes >= limits.batchBytesMax) return 0
  return Math.max(0, limits.flushIntervalMs - state.ageMs)
}
