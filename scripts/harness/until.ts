import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Waits until `holds` is true; an error of it counts as false.
 * @returns milliseconds that it took, `null` after `timeoutMs`
 */
export async function until (holds: () => Promise<boolean> | boolean, timeoutMs: number, pollMs = 50): Promise<number | null> {
  const startMs = performance.now()
  for (;;) {
    if (await Promise.resolve().then(holds).catch(() => false)) return performance.now() - startMs
    if (performance.now() - startMs > timeoutMs) return null
    await sleep(pollMs)
  }
}
