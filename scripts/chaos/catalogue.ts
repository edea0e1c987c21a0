import type { Fault } from './fault.ts'
import { bitFlips } from './faults/bit-flips.ts'
import { killAtFailpoint, powerLoss } from './faults/failpoints.ts'
import { killGateway, sigterm } from './faults/kill-gateway.ts'
import { frozenSubscriber, lostAcks, qos2Cut, reconnectStorm } from './faults/network.ts'
import { hangPostgres, killPostgres, lock, longOutage, readOnly, stopPostgresImmediate, terminateBackend } from './faults/postgres.ts'
import { poisonRows } from './faults/rows.ts'
import { fsyncFails, fsyncFailsStrace, spoolDiskFull, unwritableSpool } from './faults/spool-disk.ts'
import { twoGateways } from './faults/two-gateways.ts'

/** Every fault, in the order of `--fault all`. */
export const FAULTS: readonly Fault[] = [
  killGateway,
  killAtFailpoint,
  powerLoss,
  sigterm,
  killPostgres,
  stopPostgresImmediate,
  hangPostgres,
  longOutage,
  terminateBackend,
  readOnly,
  lock,
  twoGateways,
  poisonRows,
  spoolDiskFull,
  unwritableSpool,
  fsyncFails,
  fsyncFailsStrace,
  bitFlips,
  lostAcks,
  qos2Cut,
  frozenSubscriber,
  reconnectStorm
]
