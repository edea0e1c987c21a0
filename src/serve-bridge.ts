import { createBridge } from './bridge.ts'
import { run } from './process/run.ts'
import type { Signals } from './process/signals.ts'

/** Runs `vital-gateway bridge` as this process: from an external broker into the journal. */
export function serveBridge (signals: Signals): void {
  run(signals, createBridge)
}
