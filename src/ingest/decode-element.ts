import type { ReadingRow } from '../../db/rows.ts'
import { type Fault, FAULTS_MAX, toPointerToken } from '../../schemas/fault.ts'
import { isReading, type Reading, readingFaults, READINGS_PER_ARRAY_MAX } from '../../schemas/reading.ts'
import type { Reason } from '../../schemas/reason.ts'
import { isStorableJson } from './canonical-json.ts'
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

/** What a message holds: rows to store, and inputs that were refused. */
export interface Decoded {
  readonly rows: readonly ReadingRow[]
  readonly refused: readonly Refused[]
}

/** Where an element comes from. */
export interface ElementSource {
  /** The refused bytes; for an element of an array the caller puts the element's own bytes in their place. */
  readonly payload: Buffer
  readonly topicDevice: string | null
  readonly receivedAtMs: number
  /** Unix seconds; `Infinity` where no clock is known to be right. */
  readonly nowS: number
}

const NOTHING: readonly never[] = []

const UNTOLD = `is not a reading; of one payload only the first ${FAULTS_MAX} faults are told in full`
const NO_DEVICE = 'is required: without a topic the reading names its device'

/**
 * One parsed element → its row, or its refusal. Every transport decodes by these rules.
 * @param path - JSON Pointer to `value`
 * @param lost - faults of the element's text that parsing hides; any of them refuses the element
 * @param isTold - whether to list each fault of the element, which takes 6 to 20 µs
 */
export function toRow (
  value: unknown, path: string, { payload, topicDevice, receivedAtMs, nowS }: ElementSource, isTold: boolean,
  lost: readonly Fault[] | undefined
): ReadingRow | Refused {
  if (!isReading(value, nowS) || lost !== undefined) {
    const errors = isTold
      ? [...readingFaults(value, nowS, path), ...lost ?? []].slice(0, FAULTS_MAX)
      : [{ path, message: UNTOLD }]
    if (isTold && topicDevice === null) requireDevice(value, path, errors)
    return { reason: 'invalid_reading', errors, payload, device: topicDevice }
  }
  const device = topicDevice ?? value.device
  if (device === undefined) {
    return { reason: 'invalid_reading', errors: [{ path: `${path}/device`, message: NO_DEVICE }], payload, device: null }
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
  if ((value as Partial<Reading>).device === undefined) errors.push({ path: `${path}/device`, message: NO_DEVICE })
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

/** Message for an array that holds too few readings or too many. */
export const toLengthMessage = (length: number): string =>
  `must be an array of 1 to ${READINGS_PER_ARRAY_MAX} readings, not ${length}`

/** Refuses a message as a whole, as one input. */
export function refuseWhole (
  payload: Buffer, device: string | null, reason: Reason, message: string, path = ''
): Decoded {
  return { rows: NOTHING, refused: [{ reason, errors: [{ path, message }], payload, device }] }
}
