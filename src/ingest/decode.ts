import { isUtf8 } from 'node:buffer'
import type { ReadingRow } from '../../db/rows.ts'
import { type Fault, toPointerToken } from '../../schemas/fault.ts'
import { isReading, type Reading, readingFaults, READINGS_PER_ARRAY_MAX } from '../../schemas/reading.ts'
import type { Reason } from '../../schemas/reason.ts'
import { splitArray } from './array-elements.ts'
import { isStorableJson } from './canonical-json.ts'
import { toReadingRow } from './reading-row.ts'

/** One input that is no reading, and why. */
export interface Refused {
  readonly reason: Reason
  readonly errors: readonly Fault[]
  /** The bytes that were refused: the whole payload, or one element of its array. */
  readonly payload: Buffer
  /** Whose it is, as far as it can be told. */
  readonly device: string | null
}

export interface Decoded {
  readonly rows: readonly ReadingRow[]
  readonly refused: readonly Refused[]
}

const NOTHING: readonly never[] = []

/**
 * Payload → readings. The one decoder of both transports, so that they cannot differ.
 * @param topicDevice - the topic's device over MQTT; `null` over HTTP, where each reading must name its own
 * @param receivedAtMs - Unix milliseconds
 */
export function decode (payload: Buffer, topicDevice: string | null, receivedAtMs: number): Decoded {
  let value: unknown
  try {
    // toString() would replace invalid UTF-8 silently, and a changed reading would be acknowledged as stored.
    if (!isUtf8(payload)) return undecodable(payload, topicDevice, 'must be UTF-8')
    value = JSON.parse(payload.toString())
  } catch (error) {
    return undecodable(payload, topicDevice, `must be JSON: ${toParseMessage(error)}`)
  }
  const nowS = receivedAtMs / 1000
  if (!Array.isArray(value)) {
    const result = toRow(value, topicDevice, nowS, receivedAtMs, '', payload)
    return 'timeUs' in result ? { rows: [result], refused: NOTHING } : { rows: NOTHING, refused: [result] }
  }
  if (value.length === 0 || value.length > READINGS_PER_ARRAY_MAX) {
    const message = `must be an array of 1 to ${READINGS_PER_ARRAY_MAX} readings, not ${value.length}`
    return { rows: NOTHING, refused: [{ reason: 'invalid_reading', errors: [{ path: '', message }], payload, device: topicDevice }] }
  }
  const rows: ReadingRow[] = []
  const refused: Refused[] = []
  let elements: readonly Buffer[] | null = null
  for (const [index, element] of (value as unknown[]).entries()) {
    const result = toRow(element, topicDevice, nowS, receivedAtMs, `/${index}`, payload)
    if ('timeUs' in result) {
      rows.push(result)
    } else {
      elements ??= splitArray(payload)
      refused.push({ ...result, payload: elements[index] ?? payload })
    }
  }
  return { rows, refused }
}

/** @param payload - of what is refused; for an element of an array the caller puts the element's own bytes in its place */
function toRow (
  value: unknown, topicDevice: string | null, nowS: number, receivedAtMs: number, path: string, payload: Buffer
): ReadingRow | Refused {
  if (!isReading(value, nowS)) {
    const errors = readingFaults(value, nowS, path)
    if (topicDevice === null) requireDevice(value, path, errors)
    return { reason: 'invalid_reading', errors, payload, device: topicDevice }
  }
  const device = topicDevice ?? value.device
  if (device === undefined) {
    const errors = [{ path: `${path}/device`, message: 'is required: over HTTP the reading names its device' }]
    return { reason: 'invalid_reading', errors, payload, device: null }
  }
  if (value.device !== undefined && value.device !== device) {
    const errors = [{ path: `${path}/device`, message: 'must equal the device of the topic, or be left out' }]
    return { reason: 'device_mismatch', errors, payload, device }
  }
  const row = toReadingRow(value, device, receivedAtMs)
  if (!isStorableJson(row.vitals)) {
    const errors = [{ path: unstorablePath(value, path), message: 'must not hold U+0000 or half of a surrogate pair: PostgreSQL cannot store it' }]
    return { reason: 'database_rejected', errors, payload, device }
  }
  return row
}

function requireDevice (value: unknown, path: string, errors: Fault[]): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return
  if ((value as Partial<Reading>).device === undefined) {
    errors.push({ path: `${path}/device`, message: 'is required: over HTTP the reading names its device' })
  }
}

/** The field that PostgreSQL would refuse; only the first level is searched, which names the field to look at. */
function unstorablePath (reading: Reading, path: string): string {
  for (const [name, field] of Object.entries(reading)) {
    if (!isStorableJson(JSON.stringify(name)) || !isStorableJson(JSON.stringify(field))) return `${path}/${toPointerToken(name)}`
  }
  return path
}

function undecodable (payload: Buffer, device: string | null, message: string): Decoded {
  return { rows: NOTHING, refused: [{ reason: 'invalid_json', errors: [{ path: '', message }], payload, device }] }
}

/** V8 quotes the text around the fault; a payload has no place in a message that is logged or announced. */
function toParseMessage (error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  const position = /position \d+/.exec(message)
  if (position !== null) return `unexpected character at ${position[0]}`
  return /unexpected end|unterminated/i.test(message) ? 'it ends too early' : 'unexpected character'
}
