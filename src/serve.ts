import { createGateway } from './gateway.ts'
import { run } from './process/run.ts'
import type { Signals } from './process/signals.ts'

/** Runs a gateway as this process. */
export function serve (signals: Signals): void {
  run(signals, (options) => createGateway({ ...options, program: process.argv[1] }))
}
