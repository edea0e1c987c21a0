import type { ReadingRow } from './rows.ts'

/** A clock that is at most this far ahead, or a timestamp rounded up to the second, causes no noticeable freeze. */
const AHEAD_TOLERATED_US = 5e6

/** 2025-01-01. An earlier time comes from a clock that was never set. */
export const CLOCK_SET_MS_MIN = 1_735_689_600_000

/**
 * When a reading counts as measured, for the latest state: its timestamp, or its receipt where the timestamp is more
 * than five seconds ahead of that. Otherwise one reading of a clock that runs a day ahead would stand as the latest for
 * a day. A redelivery is received later, so readings that are ahead are folded into the latest state only when they are
 * stored.
 * @returns Unix microseconds
 */
export function toEffectiveUs ({ timeUs, receivedAtMs }: ReadingRow): number {
  return isAhead(timeUs, receivedAtMs) ? receivedAtMs * 1000 : timeUs
}

/** Whether any of these counts as of its receipt. */
export function someAhead (rows: readonly ReadingRow[]): boolean {
  for (const { timeUs, receivedAtMs } of rows) if (isAhead(timeUs, receivedAtMs)) return true
  return false
}

/** Whether a reading counts as of its receipt. */
export function isAhead (timeUs: number, receivedAtMs: number): boolean {
  return timeUs > receivedAtMs * 1000 + AHEAD_TOLERATED_US && receivedAtMs >= CLOCK_SET_MS_MIN
}
