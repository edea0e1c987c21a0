import type { Fault } from './fault.ts'
import { killGateway } from './faults/kill-gateway.ts'

/** Every fault, in the order of `--fault all`. */
export const FAULTS: readonly Fault[] = [
  killGateway
]
