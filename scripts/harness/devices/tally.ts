import type { LedgerFile } from '../checks/ledger-file.ts'
import type { MadeUpReading } from './made-up-reading.ts'

/** Counts of all devices of a publisher together. */
export interface Tally {
  sent: number
  acknowledged: number
  refused: number
  resent: number
  connected: number
  disconnects: number
  readonly disconnectCodes: Record<number, number>
  readonly faults: string[]
}

/** Settings of a device of either transport. */
export interface DeviceOptions {
  readonly id: string
  readonly port: number
  /** `null`: the gateway needs no credentials. */
  readonly secret: string | null
  /** With so many unacknowledged packets, or over HTTP readings, the device makes no new ones. */
  readonly window: number
  readonly ledger: LedgerFile
  readonly tally: Tally
  readonly random: () => number
}

const FAULTS_MAX = 20
/** A client drops a message whose acknowledgement has such a reason code [MQTT-4.4.0-2]. */
export const REFUSED_FROM = 0x80

export function createTally (): Tally {
  return { sent: 0, acknowledged: 0, refused: 0, resent: 0, connected: 0, disconnects: 0, disconnectCodes: {}, faults: [] }
}

/** Called before readings are written to a socket, for the first time or again. */
export function noteWrite ({ id, ledger, tally }: DeviceOptions, readings: readonly MadeUpReading[], isAgain: boolean): void {
  for (const { n, timestamp, kind, fields } of readings) {
    if (isAgain) ledger.resent(id, n)
    else ledger.sent(id, n, timestamp, kind, fields)
  }
  if (isAgain) tally.resent += readings.length
  else tally.sent += readings.length
}

/** @param code - the reason code of MQTT 5 */
export function noteAcknowledgement ({ id, ledger, tally }: DeviceOptions, readings: readonly MadeUpReading[], code = 0): void {
  tally.acknowledged += readings.length
  if (code < REFUSED_FROM) {
    for (const { n } of readings) ledger.acknowledged(id, n)
    return
  }
  tally.refused += readings.length
  for (const { n } of readings) ledger.refused(id, n, code)
}

/** Records an answer that no gateway may give. */
export function noteFault ({ id, tally }: DeviceOptions, message: string): void {
  if (tally.faults.length < FAULTS_MAX) tally.faults.push(`${id}: ${message}`)
}
