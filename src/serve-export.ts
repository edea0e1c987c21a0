import { createExport } from './export.ts'
import { run } from './process/run.ts'
import type { Signals } from './process/signals.ts'

/** Runs `vital-gateway export` as this process: from Kafka into a time-series database. */
export function serveExport (signals: Signals): void {
  run(signals, createExport)
}
