/**
 * A token bucket as time passes: it fills steadily up to its burst. Spending takes tokens off the level.
 * @param level - tokens at the last look
 * @param passedMs - since then
 * @param perMs - tokens that come back; `Infinity`: no limit
 * @param burst - tokens of a full bucket
 * @returns tokens now
 */
export function refill (level: number, passedMs: number, perMs: number, burst: number): number {
  return Math.min(level + passedMs * perMs, burst)
}
