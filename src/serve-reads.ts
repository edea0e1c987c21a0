import { createReadApi } from './read-api.ts'
import { run } from './process/run.ts'
import type { Signals } from './process/signals.ts'

/** Runs `vital-gateway api` as this process: reads alone. */
export function serveReads (signals: Signals): void {
  run(signals, createReadApi)
}
