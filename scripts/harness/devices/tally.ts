import type { LedgerFile } from '../checks/ledger-file.ts'
import type { MadeUpReading } from './made-up-reading.ts'

/** What all devices of a publisher count together. */
export interface Tally {
  sent: number
  acknowledged: number
  resent: number
  connected: number
  disconnects: number
  readonly faults: string[]
}

/** Settings of a device of either transport. */
export interface DeviceOptions {
  readonly id: string
  readonly port: number
  /** `null` where the gateway is open. */
  readonly secret: string | null
  /** Unacknowledged packets, or over HTTP readings, beyond which it makes nothing new. */
  readonly window: number
  readonly ledger: LedgerFile
  readonly tally: Tally
  readonly random: () => number
}

const FAULTS_MAX = 20

/** Before readings are written to a socket, for the first time or again. */
export function noteWrite ({ id, ledger, tally }: DeviceOptions, readings: readonly MadeUpReading[], isAgain: boolean): void {
  for (const { n, timestamp, kind, fields } of readings) {
    if (isAgain) ledger.resent(id, n)
    else ledger.sent(id, n, timestamp, kind, fields)
  }
  if (isAgain) tally.resent += readings.length
  else tally.sent += readings.length
}

export function noteAcknowledgement ({ id, ledger, tally }: DeviceOptions, readings: readonly MadeUpReading[]): void {
  for (const { n } of readings) ledger.acknowledged(id, n)
  tally.acknowledged += readings.length
}

/** Something that no gateway may answer. */
export function noteFault ({ id, tally }: DeviceOptions, message: string): void {
  if (tally.faults.length < FAULTS_MAX) tally.faults.push(`${id}: ${message}`)
}
