import { until as untilWithin } from '../../scripts/harness/until.ts'

/**
 * Waits until something holds. A condition that throws does not hold yet.
 * @param what - for a person, when it never comes to hold; by default the text of the condition
 * @throws Error after `timeoutMs`; its cause is what the condition threw at last
 */
export async function until (
  holds: () => Promise<boolean> | boolean, what = String(holds), timeoutMs = 40_000
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
  if (await untilWithin(isHolding, timeoutMs, 5) === null) throw new Error(`waited ${timeoutMs} ms in vain for ${what}`, { cause })
}
