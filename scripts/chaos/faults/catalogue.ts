import type { Fault } from './fault.ts'
import { ackOrder } from './ack-order.ts'
import { bitFlips } from './bit-flips.ts'
import { connectionFlood } from './flood.ts'
import { clockAhead, clockBehind } from './clocks.ts'
import { killAtFailpoint, powerLoss } from './failpoints.ts'
import { greedyReaders } from './greedy-readers.ts'
import { hugeDefaultPartition } from './huge-default.ts'
import { killGateway, sigterm } from './kill-gateway.ts'
import { letterRefused } from './letters.ts'
import { frozenSubscriber, lostAcks, qos2Cut, reconnectStorm } from './network.ts'
import { largeReadings } from './large-readings.ts'
import { longOutage } from './outage.ts'
import { massRevocation } from './mass-revocation.ts'
import { hangPostgres, killPostgres, lock, readOnly, stopPostgresImmediate, terminateBackend } from './postgres.ts'
import { postgresDiskFull } from './postgres-disk.ts'
import { reverseResend } from './reverse-resend.ts'
import { poisonRows } from './rows.ts'
import { sessions } from './sessions.ts'
import { soak } from './soak.ts'
import { spaceReturns } from './space-returns.ts'
import { fsyncFails, fsyncFailsStrace, spoolDiskFull, spoolFileLimit, unwritableSpool } from './spool-disk.ts'
import { twoGateways } from './two-gateways.ts'

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
  largeReadings,
  terminateBackend,
  readOnly,
  postgresDiskFull,
  lock,
  twoGateways,
  poisonRows,
  letterRefused,
  reverseResend,
  hugeDefaultPartition,
  clockBehind,
  clockAhead,
  spoolDiskFull,
  spaceReturns,
  spoolFileLimit,
  unwritableSpool,
  fsyncFails,
  fsyncFailsStrace,
  bitFlips,
  ackOrder,
  lostAcks,
  qos2Cut,
  frozenSubscriber,
  sessions,
  connectionFlood,
  greedyReaders,
  massRevocation,
  reconnectStorm,
  soak
]
