import { isUtf8 } from 'node:buffer'
import type { ReadingRow } from '../../db/rows.ts'
import { type Fault, FAULTS_MAX, toPointerToken } from '../../schemas/fault.ts'
import {
  isReading, type Reading, READING_NAMES_MAX, readingFaults, READINGS_PER_ARRAY_MAX, TOO_MANY_NAMES
} from '../../schemas/reading.ts'
import type { Reason } from '../../schemas/reason.ts'
import { isStorableJson } from './canonical-json.ts'
import { findLosses, type Losses } from './json-losses.ts'
import { extentOf, splitArray } from './json-structure.ts'
import { walkJson } from './json-walk.ts'
import { toReadingRow } from './reading-row.ts'

/** One input that was refused, and the reason. */
export interface Refused {
  readonly reason: Reason
  readonly errors: readonly Fault[]
  /** The bytes that were refused: the whole payload, or one element of its array. */
  readonly payload: Buffer
  /** The device of the input, as far as it is known. */
  readonly device: string | null
}

export interface Decoded {
  readonly rows: readonly ReadingRow[]
  readonly refused: readonly Refused[]
}

const NOTHING: readonly never[] = []

const UNTOLD = `is not a reading; of one payload only the first ${FAULTS_MAX} faults are told in full`

/** Payloads from this size on are measured before they are parsed: below it JSON.parse takes a millisecond at most. */
const MEASURED_BYTES_MIN = 16 * 1024

/** Levels of nesting that are parsed (RFC 8259 §9 lets a parser set such a limit); a reading has far fewer. */
const PARSED_DEPTH_MAX = 512

/**
 * Payload → readings. The one decoder of both transports, so that they cannot differ.
 * @param topicDevice - the topic's device over MQTT; `null` over HTTP, where each reading must name its own
 * @param receivedAtMs - Unix milliseconds
 * @param isConfirmed - whether a second clock agrees; if not, nothing is refused for being ahead of the receipt
 */
export function decode (
  payload: Buffer, topicDevice: string | null, receivedAtMs: number, isConfirmed = true
): Decoded {
  const excess = payload.length < MEASURED_BYTES_MIN ? null : toExcess(payload)
  if (excess !== null) return refuseWhole(payload, topicDevice, excess.reason, excess.message)
  // toString() would replace invalid UTF-8 silently, and a changed reading would be acknowledged as stored.
  if (!isUtf8(payload)) return refuseWhole(payload, topicDevice, 'invalid_json', 'must be UTF-8')
  const text = payload.toString()
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return refuseWhole(payload, topicDevice, 'invalid_json', `must be JSON: ${toParseMessage(text)}`)
  }
  const source = {
    payload,
    topicDevice,
    receivedAtMs,
    nowS: isConfirmed
      ? receivedAtMs / 1000
      : Infinity,
    losses: findLosses(text, value, payload)
  }
  if (!Array.isArray(value)) {
    const result = toRow(value, '', source, true, -1)
    return 'timeUs' in result ? { rows: [result], refused: NOTHING } : { rows: NOTHING, refused: [result] }
  }
  if (value.length === 0 || value.length > READINGS_PER_ARRAY_MAX) {
    return refuseWhole(payload, topicDevice, 'invalid_reading', toLengthMessage(value.length))
  }
  const rows: ReadingRow[] = []
  const refused: Refused[] = []
  let elements: readonly Buffer[] | null = null
  let faults = 0
  for (const [index, element] of (value as unknown[]).entries()) {
    const result = toRow(element, `/${index}`, source, faults < FAULTS_MAX, index)
    if ('timeUs' in result) {
      rows.push(result)
    } else {
      elements ??= splitArray(payload)
      faults += result.errors.length
      refused.push({ ...result, payload: elements[index] ?? payload })
    }
  }
  return { rows, refused }
}

interface Source {
  /** The refused bytes; for an element of an array the caller puts the element's own bytes in their place. */
  readonly payload: Buffer
  readonly topicDevice: string | null
  readonly receivedAtMs: number
  readonly nowS: number
  readonly losses: Losses | null
}

/**
 * @param path - JSON Pointer to `value`
 * @param isTold - whether to look for each of its faults, which takes 6 to 20 µs
 */
function toRow (
  value: unknown, path: string, { payload, topicDevice, receivedAtMs, nowS, losses }: Source, isTold: boolean, index: number
): ReadingRow | Refused {
  const lost = losses?.get(index)
  if (!isReading(value, nowS) || lost !== undefined) {
    const errors = isTold
      ? [...readingFaults(value, nowS, path), ...lost ?? []].slice(0, FAULTS_MAX)
      : [{ path, message: UNTOLD }]
    if (isTold && topicDevice === null) requireDevice(value, path, errors)
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
    const errors = [{
      path: unstorablePath(value, path),
      message: 'must not hold U+0000 or half of a surrogate pair: ' +
      'PostgreSQL cannot store it'
    }]
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
    if (!isStorableJson(JSON.stringify(name)) || !isStorableJson(JSON.stringify(field))) {
      return `${path}/${toPointerToken(name)}`
    }
  }
  return path
}

/** The reason why a payload is refused before it is parsed, to spare the event loop. */
function toExcess (payload: Buffer): { readonly reason: Reason, readonly message: string } | null {
  const { depth, elements, names } = extentOf(payload, PARSED_DEPTH_MAX)
  if (depth > PARSED_DEPTH_MAX) {
    return { reason: 'invalid_json', message: `must not nest deeper than ${PARSED_DEPTH_MAX} levels` }
  }
  if (elements > READINGS_PER_ARRAY_MAX) return { reason: 'invalid_reading', message: toLengthMessage(elements) }
  return names > READING_NAMES_MAX ? { reason: 'invalid_reading', message: TOO_MANY_NAMES } : null
}

const toLengthMessage = (length: number) => `must be an array of 1 to ${READINGS_PER_ARRAY_MAX} readings, not ${length}`

function refuseWhole (payload: Buffer, device: string | null, reason: Reason, message: string): Decoded {
  return { rows: NOTHING, refused: [{ reason, errors: [{ path: '', message }], payload, device }] }
}

/**
 * The position at which the text stops being JSON. V8 reports it only at times, and quotes the payload, which must not
 * be in a message that is logged or announced.
 */
function toParseMessage (text: string): string {
  const at = walkJson(text)
  if (at >= text.length) return 'it ends too early'
  const isNoNumber = /^[+-]?(?:nan|inf)/i.test(text.slice(at, at + 5))
  return 'unexpected character at position ' +
    `${at}${isNoNumber ? '; JSON has no NaN and no infinity: leave the field out' : ''}`
}
