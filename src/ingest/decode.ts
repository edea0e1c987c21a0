import { isUtf8 } from 'node:buffer'
import type { ReadingRow } from '../../db/rows.ts'
import { FAULTS_MAX } from '../../schemas/fault.ts'
import { READING_NAMES_MAX, READINGS_PER_ARRAY_MAX, TOO_MANY_NAMES } from '../../schemas/reading.ts'
import type { Reason } from '../../schemas/reason.ts'
import { type Decoded, type Refused, refuseWhole, toLengthMessage, toRow } from './decode-element.ts'
import { findLosses } from './json-losses.ts'
import { extentOf, splitArray } from './json-structure.ts'
import { walkJson } from './json-walk.ts'

const NOTHING: readonly never[] = []

/** Payloads from this size on are measured before they are parsed: below it JSON.parse takes a millisecond at most. */
export const MEASURED_BYTES_MIN = 16 * 1024

/** Levels of nesting that are parsed (RFC 8259 §9 lets a parser set such a limit); a reading has far fewer. */
const PARSED_DEPTH_MAX = 512

/**
 * Payload → readings. The one decoder of MQTT and HTTP, so that they cannot differ; gRPC's is decode-fields.ts.
 * `ingest.ts` makes dead letters of what is refused over MQTT.
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
      : Infinity
  }
  const losses = findLosses(text, value, payload)
  if (!Array.isArray(value)) {
    const result = toRow(value, '', source, true, losses?.get(-1))
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
    const result = toRow(element, `/${index}`, source, faults < FAULTS_MAX, losses?.get(index))
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

/** The reason why a payload is refused before it is parsed, to spare the event loop; `null`: it may be parsed. */
export function toExcess (payload: Buffer): { readonly reason: Reason, readonly message: string } | null {
  const { depth, elements, names } = extentOf(payload, PARSED_DEPTH_MAX)
  if (depth > PARSED_DEPTH_MAX) {
    return { reason: 'invalid_json', message: `must not nest deeper than ${PARSED_DEPTH_MAX} levels` }
  }
  if (elements > READINGS_PER_ARRAY_MAX) return { reason: 'invalid_reading', message: toLengthMessage(elements) }
  return names > READING_NAMES_MAX ? { reason: 'invalid_reading', message: TOO_MANY_NAMES } : null
}

// eslint-disable-next-line no-control-regex -- a string must not hold them [RFC 8259 §7]
const CUT_STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*(?:\\(?:u[0-9a-fA-F]{0,3})?)?$/y
const CUT_WORD = /(?:t(?:ru?)?|f(?:a(?:ls?)?)?|n(?:ul?)?|-)$/y

/** Whether the text ends at this position, or within a string or word that begins there. */
function isCut (text: string, at: number): boolean {
  CUT_STRING.lastIndex = at
  CUT_WORD.lastIndex = at
  return at >= text.length || CUT_STRING.test(text) || CUT_WORD.test(text)
}

/**
 * The position at which the text stops being JSON. V8 reports it only sometimes, and quotes the payload. A payload must
 * not be part of a message that is logged or announced.
 */
export function toParseMessage (text: string): string {
  const at = walkJson(text)
  if (isCut(text, at)) return 'it ends too early'
  const isNoNumber = /^[+-]?(?:nan|inf)/i.test(text.slice(at, at + 5))
  return 'unexpected character at position ' +
    `${at}${isNoNumber ? '; JSON has no NaN and no infinity: leave the field out' : ''}`
}
