import { run } from './process/run.ts'
import type { Signals } from './process/signals.ts'
import { createSink } from './sink.ts'

/** Runs `vital-gateway sink` as this process: from Kafka into PostgreSQL. */
export function serveSink (signals: Signals): void {
  run(signals, createSink)
}
