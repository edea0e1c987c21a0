/**
 * Refills a token bucket: it fills steadily up to its burst. Spending takes tokens off the level.
 * @param level - tokens after the last refill and spending
 * @param passedMs - since the last refill
 * @param perMs - tokens added each millisecond; `Infinity`: no limit
 * @param burst - tokens of a full bucket
 * @returns tokens now
 */
export function refill (level: number, passedMs: number, perMs: number, burst: number): number {
  return Math.min(level + passedMs * perMs, burst)
}
