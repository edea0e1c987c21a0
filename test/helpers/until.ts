import { until as untilWithin } from '../../scripts/harness/until.ts'

/**
 * Waits until something holds; that it cannot be asked counts as no.
 * @param what - for a person, where it never comes to hold; by default the text of the condition
 */
export async function until (holds: () => Promise<boolean> | boolean, what = String(holds), timeoutMs = 40_000): Promise<void> {
  if (await untilWithin(holds, timeoutMs, 5) === null) throw new Error(`waited ${timeoutMs} ms in vain for ${what}`)
}
