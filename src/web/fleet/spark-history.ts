import { gatewayNowMs } from '../connection/api.ts'
import { readHistory } from '../connection/history.ts'
import { fleet, state } from '../store.ts'
import { type Device, SPARK_POINTS, SPARK_STEP_S } from './fleet-store.ts'

/** Of one device with more than two readings a second, the newest ones. */
const READINGS_MAX = 600

let wanted: readonly Device[] = []
let isRunning = false
/** Device id → the connection for which its sparkline was filled. */
const filled = new Map<string, number>()

async function run (): Promise<void> {
  isRunning = true
  try {
    for (;;) {
      const { connections } = state
      const device = wanted.find(({ id }) => filled.get(id) !== connections)
      if (device === undefined) return
      // Marked also where it fails: the next connection asks again.
      filled.set(device.id, connections)
      const toS = gatewayNowMs() / 1000
      const fromS = toS - SPARK_POINTS * SPARK_STEP_S
      await readHistory(device.id, { fromS, toS: toS + SPARK_STEP_S, every: null, count: READINGS_MAX })
        .then((readings) => { fleet.recall(device.id, readings) }, () => {})
    }
  } finally {
    isRunning = false
  }
}

/**
 * Fills the sparklines of these devices from the history, once for each connection, with readings that came while the
 * page was hidden, not connected or not yet open. One device after the other, and only rows in view, because ten
 * thousand would keep the gateway's reads busy.
 */
export function fillSparks (devices: readonly Device[]): void {
  wanted = devices
  if (!isRunning && state.isLive) run().catch(reportError)
}
