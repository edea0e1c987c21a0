/**
 * A refused input as a record of the topic `vital.dead-letters`. The key is its device, else its client, else its id,
 * so that one sender's garbage stays in one partition. The value has the form of `GET /dead-letters/{id}`, with the
 * payload in base64: `id`, `receivedAt`, `transport`, `topic`, `clientId`, `deviceId`, `reason`, `errors`, `payload`.
 */
import type { DeadLetterRow } from '../../db/rows.ts'
import { toUnixSeconds } from '../../db/unix-seconds.ts'
import type { Fault } from '../../schemas/fault.ts'
import { REASONS } from '../../schemas/reason.ts'
import { TRANSPORTS } from '../../schemas/transport.ts'
import {
  isObject, LETTERS_TOPIC, type LogRecord, type Members, type OutgoingRecord, type Read, readRecord, toOutgoing, toSeen
} from './records.ts'

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/

/** The record of a refused input. @param seen - the last request to erase a device that the gateway has dealt with */
export function toLetterRecord (letter: DeadLetterRow, seen?: number): OutgoingRecord {
  const { device, clientId, id, receivedAtMs, transport, topic, reason, errors, payload } = letter
  const rest = JSON.stringify({ transport, topic, clientId, deviceId: device, reason, errors, payload: payload.toString('base64') })
  const value = `{"id":"${id}","receivedAt":${toUnixSeconds(Math.round(receivedAtMs * 1000))},${rest.slice(1)}`
  return toOutgoing(LETTERS_TOPIC, device ?? clientId ?? id, value, toSeen(seen))
}

/** Reads a record of the topic. @returns the row as the gateway made it, to the microsecond */
export function readLetterRecord (record: LogRecord): Read<DeadLetterRow> {
  return readRecord(record, toLetter)
}

function toLetter (parsed: Members): DeadLetterRow | string {
  const { id, receivedAt, topic, clientId, deviceId, errors, payload } = parsed
  if (typeof id !== 'string' || !UUID.test(id)) return '`id` is not a UUID'
  if (typeof receivedAt !== 'number' || !(receivedAt >= 0)) return '`receivedAt` is not a time in Unix seconds'
  const transport = TRANSPORTS.find((name) => name === parsed['transport'])
  const reason = REASONS.find((name) => name === parsed['reason'])
  if (transport === undefined || reason === undefined) return '`transport` or `reason` is unknown'
  if (!isTextOrNull(topic) || !isTextOrNull(clientId) || !isTextOrNull(deviceId)) return '`topic`, `clientId` or `deviceId` is not a string'
  if (!Array.isArray(errors) || !errors.every(isFault)) return '`errors` is not a list of faults'
  if (typeof payload !== 'string' || !BASE64.test(payload)) return '`payload` is not base64'
  return {
    id,
    receivedAtMs: Math.round(receivedAt * 1e6) / 1000,
    transport,
    topic,
    clientId,
    device: deviceId,
    reason,
    errors,
    payload: Buffer.from(payload, 'base64')
  }
}

const isTextOrNull = (value: unknown): value is string | null => value === null || typeof value === 'string'

const isFault = (value: unknown): value is Fault =>
  isObject(value) && typeof value['path'] === 'string' && typeof value['message'] === 'string'
