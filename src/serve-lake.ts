import { run } from './process/run.ts'
import type { Signals } from './process/signals.ts'
import { createLake } from './lake.ts'

/** Runs `vital-gateway lake` as this process: from Kafka into files of Parquet. */
export function serveLake (signals: Signals): void {
  run(signals, createLake)
}
