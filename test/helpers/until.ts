import { until as untilWithin } from '../../scripts/harness/until.ts'

/**
 * Waits until something holds. A condition that throws does not hold yet.
 * @param what - names the event in the error message; by default the text of the condition. A function is called at the time-out
 * @throws Error after `timeoutMs`; its cause is the last error of the condition
 */
export async function until (
  holds: () => Promise<boolean> | boolean, what: string | (() => string) = String(holds), timeoutMs = 40_000
): Promise<void> {
  let cause: unknown
  const isHolding = async () => {
    try {
      const isTrue = await holds()
      cause = undefined
      return isTrue
    } catch (error) {
      cause = error
      return false
    }
  }
  if (await untilWithin(isHolding, timeoutMs, 5) !== null) return
  throw new Error(`timed out after ${timeoutMs} ms, waiting for ${typeof what === 'string' ? what : what()}`, { cause })
}
