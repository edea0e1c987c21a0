import { readRssBytes } from '../../harness/process-stat.ts'
import type { Rig } from '../rig/rig.ts'

const POLL_MS = 100

/** Resident memory of the gateway, every tenth of a second. */
export function watchMemory (rig: Rig) {
  let peakBytes = 0
  const timer = setInterval(() => { peakBytes = Math.max(peakBytes, readRssBytes(rig.gateway.pid) ?? 0) }, POLL_MS)
  return {
    nowMiB: () => Math.round((readRssBytes(rig.gateway.pid) ?? 0) / 2 ** 20),
    peakMiB: () => Math.round(peakBytes / 2 ** 20),
    stop: () => { clearInterval(timer) }
  }
}
