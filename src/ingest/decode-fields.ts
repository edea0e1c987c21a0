import { isUtf8 } from 'node:buffer'
import type { ReadingRow } from '../../db/rows.ts'
import { type Fault, FAULTS_MAX, toPointerToken } from '../../schemas/fault.ts'
import { READINGS_PER_ARRAY_MAX } from '../../schemas/reading.ts'
import type { Reason } from '../../schemas/reason.ts'
import { MEASURED_BYTES_MIN, toExcess, toParseMessage } from './decode.ts'
import { type Decoded, type Refused, refuseWhole, toLengthMessage, toRow } from './decode-element.ts'
import { findLosses } from './json-losses.ts'

/** Readings whose fields did not come as one JSON text. */
export interface FieldReadings {
  /** One object per reading, with the field names of JSON. The decoder adds the fields of `others`. */
  readonly fields: ReadonlyArray<Record<string, unknown>>
  /** Bytes of a JSON object with further fields, by the index of the reading. */
  readonly others: ReadonlyMap<number, Buffer>
}

const NOTHING: readonly never[] = []
/** Refused readings of this kind become no dead letter, so their bytes are not kept. */
const NO_PAYLOAD = Buffer.alloc(0)

const SECOND_NAME = 'is given twice'

/**
 * Readings of a gRPC request → rows. A number in `fields` is a double already. JSON.parse makes the same double of the
 * text that a device would send over MQTT, so both give one identity. `others` holds JSON, which is decoded by the
 * rules of JSON: digits that a double does not keep, and names given twice, refuse the reading.
 * @param receivedAtMs - Unix milliseconds
 * @param isConfirmed - as of `decode`
 */
export function decodeFields (
  { fields, others }: FieldReadings, receivedAtMs: number, isConfirmed: boolean
): Decoded {
  if (fields.length === 0 || fields.length > READINGS_PER_ARRAY_MAX) {
    return refuseWhole(NO_PAYLOAD, null, 'invalid_reading', toLengthMessage(fields.length))
  }
  const source = {
    payload: NO_PAYLOAD, topicDevice: null, receivedAtMs, nowS: isConfirmed ? receivedAtMs / 1000 : Infinity
  }
  const rows: ReadingRow[] = []
  let refused: Refused[] | null = null
  let faults = 0
  for (let index = 0; index < fields.length; index++) {
    const reading = fields[index]!
    const other = others.size === 0 ? undefined : others.get(index)
    const added = other === undefined ? undefined : addFields(reading, other, `/${index}`)
    const result = added !== undefined && 'reason' in added
      ? { ...added, payload: NO_PAYLOAD, device: null }
      : toRow(reading, `/${index}`, source, faults < FAULTS_MAX, added)
    if ('timeUs' in result) {
      rows.push(result)
    } else {
      refused ??= []
      refused.push(result)
      faults += result.errors.length
    }
  }
  return { rows, refused: refused ?? NOTHING }
}

type Unreadable = Pick<Refused, 'reason' | 'errors'>

/**
 * Adds the fields of a JSON object to a reading.
 * @returns faults of the text that parsing hides; or the refusal of a text that is not an object; or `undefined`
 */
function addFields (reading: Record<string, unknown>, json: Buffer, path: string): Fault[] | Unreadable | undefined {
  const refuse = (reason: Reason, message: string): Unreadable =>
    ({ reason, errors: [{ path: `${path}/other`, message }] })
  const excess = json.length < MEASURED_BYTES_MIN ? null : toExcess(json)
  if (excess !== null) return refuse(excess.reason, excess.message)
  if (!isUtf8(json)) return refuse('invalid_json', 'must be UTF-8')
  const text = json.toString()
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return refuse('invalid_json', `must be JSON: ${toParseMessage(text)}`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return refuse('invalid_reading', 'must be a JSON object')
  }
  const lost = findLosses(text, value, json)?.get(-1)
  const faults = lost?.map(({ path: at, message }) => ({ path: path + at, message })) ?? []
  for (const [name, field] of Object.entries(value)) {
    if (Object.hasOwn(reading, name)) faults.push({ path: `${path}/${toPointerToken(name)}`, message: SECOND_NAME })
    // An assignment to __proto__ would set no field, and the reading would be stored without it.
    else Object.defineProperty(reading, name, { value: field, enumerable: true, configurable: true, writable: true })
  }
  return faults.length === 0 ? undefined : faults.slice(0, FAULTS_MAX)
}
