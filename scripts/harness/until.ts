import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Waits until something holds; that it cannot be asked counts as no.
 * @returns milliseconds that it took, `null` when it did not come to hold
 */
export async function until (holds: () => Promise<boolean> | boolean, timeoutMs: number, pollMs = 50): Promise<number | null> {
  const startMs = performance.now()
  for (;;) {
    if (await Promise.resolve().then(holds).catch(() => false)) return performance.now() - startMs
    if (performance.now() - startMs > timeoutMs) return null
    await sleep(pollMs)
  }
}
