/**
 * A reading as a record of the topic `vital.readings`. The key is the device; the value is JSON that any consumer can read:
 *
 *   {"device":"ward-3","timestamp":1735689600.25,"id":"…","receivedAt":1735689600.75,"vitals":{"heartRateValue":71}}
 *
 * `vitals` is last and keeps each digit: it is the text that a gateway without Kafka stores. A record may be in the log
 * twice, so `id` identifies a reading: it is the first 128 bits of the SHA-256 of device, microseconds and vitals,
 * joined by line feeds. The headers `transport` and `client` say how the reading arrived, and `erasures` which erasures
 * the gateway knew of.
 */
import { hash } from 'node:crypto'
import type { ReadingRow } from '../../db/rows.ts'
import { toUnixSeconds } from '../../db/unix-seconds.ts'
import { isStoredDeviceId } from '../../schemas/device-id.ts'
import { type Transport, TRANSPORTS } from '../../schemas/transport.ts'
import {
  isObject, type LogRecord, type Members, type OutgoingRecord, type Read, READINGS_TOPIC, readRecord, toOutgoing, toSeen
} from './records.ts'

/** Bytes of a row's hash, and of `id`. */
const HASH_BYTES = 16
const VITALS = ',"vitals":'

/** A reading, and how it arrived. */
export interface LoggedReading {
  readonly row: ReadingRow
  readonly transport: Transport
  readonly clientId: string | null
}

/** The same, with the id of its record. */
export interface IdentifiedReading extends LoggedReading {
  readonly id: string
}

/** The record of a reading. @param seen - the last request to erase a device that the gateway has dealt with */
export function toReadingRecord ({ row, transport, clientId }: LoggedReading, seen?: number): OutgoingRecord {
  const { device, timeUs, vitals, receivedAtMs } = row
  const value = `{"device":${JSON.stringify(device)},"timestamp":${toUnixSeconds(timeUs)},"id":"${toReadingId(row)}",` +
    `"receivedAt":${toUnixSeconds(Math.round(receivedAtMs * 1000))}${VITALS}${vitals}}`
  return toOutgoing(READINGS_TOPIC, device, value, { transport, client: clientId, ...toSeen(seen) })
}

/** Reads a record of the topic. @returns the row as the gateway made it, to the microsecond */
export function readReadingRecord (record: LogRecord): Read<IdentifiedReading> {
  return readRecord(record, toReading)
}

function toReading (
  { device, timestamp, id, receivedAt, vitals: fields }: Members, text: string, headers: ReadonlyMap<string, string>
): IdentifiedReading | string {
  if (typeof device !== 'string' || !isStoredDeviceId(device)) return '`device` is not a device id'
  const timeUs = toMicroseconds(timestamp)
  if (timeUs === null) return '`timestamp` is not a time in Unix seconds'
  const receivedAtUs = toMicroseconds(receivedAt)
  if (receivedAtUs === null) return '`receivedAt` is not a time in Unix seconds'
  if (!isObject(fields)) return '`vitals` is not an object'
  const transport = TRANSPORTS.find((name) => name === headers.get('transport'))
  if (transport === undefined) return 'its header `transport` is unknown'
  // The first match is outside of strings, because quotes within a string are escaped.
  const vitals = text.slice(text.indexOf(VITALS) + VITALS.length, -1)
  const sum = hash('sha256', vitals, 'binary').slice(0, HASH_BYTES)
  const row = { device, timeUs, hash: sum, vitals, fields, receivedAtMs: receivedAtUs / 1000 }
  // If anything changed on the way, even the spelling, this is not the reading that was accepted.
  if (id !== toReadingId(row)) return '`id` is not that of the reading'
  return { row, id, transport, clientId: headers.get('client') ?? null }
}

function toReadingId ({ device, timeUs, vitals }: Pick<ReadingRow, 'device' | 'timeUs' | 'vitals'>): string {
  return hash('sha256', `${device}\n${timeUs}\n${vitals}`, 'hex').slice(0, 2 * HASH_BYTES)
}

function toMicroseconds (seconds: unknown): number | null {
  if (typeof seconds !== 'number' || seconds < 0) return null
  const us = Math.round(seconds * 1e6)
  return Number.isSafeInteger(us) ? us : null
}
