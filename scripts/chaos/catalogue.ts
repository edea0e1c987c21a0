import type { Fault } from './fault.ts'
import { ackOrder } from './faults/ack-order.ts'
import { bitFlips } from './faults/bit-flips.ts'
import { connectionFlood } from './faults/flood.ts'
import { clockAhead, clockBehind } from './faults/clocks.ts'
import { killAtFailpoint, powerLoss } from './faults/failpoints.ts'
import { greedyReaders } from './faults/greedy-readers.ts'
import { hugeDefaultPartition } from './faults/huge-default.ts'
import { killGateway, sigterm } from './faults/kill-gateway.ts'
import { letterRefused, poisonRows } from './faults/letters.ts'
import { frozenSubscriber, lostAcks, qos2Cut, reconnectStorm } from './faults/network.ts'
import { largeBacklog, largeReadings } from './faults/large-readings.ts'
import { longOutage } from './faults/outage.ts'
import { massRevocation } from './faults/mass-revocation.ts'
import { hangPostgres, killPostgres, lock, readOnly, stopPostgresImmediate, terminateBackend } from './faults/postgres.ts'
import { postgresDiskFull } from './faults/postgres-disk.ts'
import { reasonCodes } from './faults/reason-codes.ts'
import { reverseResend } from './faults/reverse-resend.ts'
import { sessions } from './faults/sessions.ts'
import { soak } from './faults/soak.ts'
import { spaceReturns } from './faults/space-returns.ts'
import { fsyncFails, fsyncFailsStrace, spoolDiskFull, spoolFileLimit, unwritableSpool } from './faults/spool-disk.ts'
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
  largeReadings,
  largeBacklog,
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
  reasonCodes,
  frozenSubscriber,
  sessions,
  connectionFlood,
  greedyReaders,
  massRevocation,
  reconnectStorm,
  soak
]
