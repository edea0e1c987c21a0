import Type, { type Static } from 'typebox'
import { Compile } from 'typebox/compile'
import { DEVICE_ID_RULE, FORBIDDEN_NAMES, isDeviceId } from './device-id.ts'
import { type Fault, FAULTS_MAX, toFaults, toPointerToken } from './fault.ts'

/** Readings in one array. A thousand of the largest usual ones still fit the default packet limit. */
export const READINGS_PER_ARRAY_MAX = 1000

/**
 * Levels of nesting in one reading: the canonical form recurses, and PostgreSQL's jsonb parser has a stack limit of its
 * own.
 */
export const READING_DEPTH_MAX = 32

/**
 * Names in one reading, those of nested objects included. A monitor sends dozens; each is a field of the device's
 * latest state, and 50,000 fit into a packet.
 */
export const READING_NAMES_MAX = 1000

/** A device's clock may run ahead of ours by this much. */
const CLOCK_AHEAD_MAX_S = 86_400

/**
 * From here on a number is implausible as a time in seconds (the year 5138), and plausible in milliseconds (1973). The
 * limit does not depend on the gateway's clock: on a board without a battery that clock begins in 1970, and every
 * present time in seconds would look like milliseconds.
 */
const MILLISECONDS_MIN = 1e11
const MICROSECONDS_MIN = 1e14
const NANOSECONDS_MIN = 1e17

const vital = (description: string) => Type.Optional(Type.Number({ description }))

/**
 * One reading. Known vital signs are finite numbers when present; other fields of any JSON type are kept.
 * `timestamp` and `device` have further rules, which {@link readingFaults} checks.
 * The README of this folder lists the other places that a new vital sign needs.
 */
export const ReadingSchema = Type.Object({
  device: Type.Optional(Type.String({
    description: `Device id: ${DEVICE_ID_RULE}. Over MQTT the topic names the ` +
    'device.'
  })),
  timestamp: Type.Number({
    minimum: 0,
    description: 'Unix seconds, fractions allowed; at most a day ahead of the ' +
    'gateway'
  }),
  heartRateValue: vital('Heart rate, beats per minute'),
  breathRateValue: vital('Breathing rate, breaths per minute'),
  breathValue: vital('Older name of breathRateValue; when both come, breathRateValue counts'),
  pulseRateValue: vital('Pulse rate of the oximeter, beats per minute'),
  bloodPressureSystolic: vital('mmHg'),
  bloodPressureDiastolic: vital('mmHg'),
  spo2Value: vital('Blood oxygen saturation, percent'),
  temperatureValue: vital('Body temperature, degrees Celsius')
}, {
  description: 'Other fields of any JSON type are kept. Names are exact: `heartRate` and `heart_rate` are other ' +
  'fields, not the heart rate.'
})

export type Reading = Static<typeof ReadingSchema> & Record<string, unknown>

/** A field that is known: a number, where a reading has it. */
export type VitalSign = Exclude<keyof Static<typeof ReadingSchema>, 'device' | 'timestamp'>

export const VITAL_SIGNS = Object.keys(ReadingSchema.properties)
  .filter((name): name is VitalSign => name !== 'device' && name !== 'timestamp')

const reading = Compile(ReadingSchema)

const keyName = (key: string) => `the name ${key} is not allowed`

/**
 * Whether `value` is a reading, by the fastest check; {@link readingFaults} says why not.
 * @param nowS - Unix seconds; `Infinity` where no clock is known to be right: then no timestamp is refused as being
 *   ahead
 */
export function isReading (value: unknown, nowS: number): value is Reading {
  if (!reading.Check(value)) return false
  const candidate = value as Reading
  if (candidate.timestamp > toTimestampMax(nowS)) return false
  if (candidate.device !== undefined && !isDeviceId(candidate.device)) return false
  let names = 0
  for (const key in candidate) {
    if (++names > READING_NAMES_MAX || FORBIDDEN_NAMES.has(key)) return false
    const field = candidate[key]
    if (typeof field === 'number') {
      if (!Number.isFinite(field)) return false
    } else if (typeof field === 'object' && field !== null) {
      const inner = { names }
      if (nestedFault(field, 1, inner) !== null) return false
      names = inner.names
    }
  }
  return true
}

/**
 * Every fault of one reading, at most {@link FAULTS_MAX}; empty when {@link isReading} holds.
 * @param nowS - as of {@link isReading}
 * @param base - pointer of the reading within its payload: `''`, or `/3` in an array
 */
export function readingFaults (value: unknown, nowS: number, base = ''): Fault[] {
  const faults = toFaults(reading.Errors(value), base).map((fault) => toTimestampFault(fault, value,
    `${base}/timestamp`))
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return faults
  const { timestamp, device } = value as Partial<Reading>
  if (typeof timestamp === 'number' && Number.isFinite(timestamp) && timestamp > toTimestampMax(nowS)) {
    faults.push({ path: `${base}/timestamp`, message: timestampMessage(timestamp) })
  }
  if (typeof device === 'string' && !isDeviceId(device)) {
    faults.push({ path: `${base}/device`, message: `must be a device id: ${DEVICE_ID_RULE}` })
  }
  const counted = { names: 0 }
  for (const [key, field] of Object.entries(value)) {
    if (++counted.names > READING_NAMES_MAX) {
      faults.push({ path: base, message: TOO_MANY_NAMES })
      break
    }
    const path = `${base}/${toPointerToken(key)}`
    if (FORBIDDEN_NAMES.has(key)) faults.push({ path, message: keyName(key) })
    else if (typeof field === 'number' && !Number.isFinite(field)) {
      if (!faults.some((fault) => fault.path === path)) faults.push({ path, message: 'must be a finite number' })
    } else {
      const nested = nestedFault(field, 1, counted)
      if (nested !== null) faults.push(within(path, nested))
    }
    if (faults.length >= FAULTS_MAX) break
  }
  return faults.slice(0, FAULTS_MAX)
}

function toTimestampMax (nowS: number): number {
  return Math.min(nowS + CLOCK_AHEAD_MAX_S, MILLISECONDS_MIN)
}

function timestampMessage (timestamp: number): string {
  if (timestamp <= MILLISECONDS_MIN) return 'must be Unix seconds, at most a day ahead of the gateway\'s clock'
  const [unit, factor] = timestamp < MICROSECONDS_MIN
    ? ['milli', '1000']
    : timestamp < NANOSECONDS_MIN ? ['micro', '1000000'] : ['nano', '1000000000']
  return `must be Unix seconds; this looks like ${unit}seconds: divide it by ${factor}`
}

/** Where the timestamp is a text, the fault says what to send instead. */
function toTimestampFault (fault: Fault, value: unknown, path: string): Fault {
  if (fault.path !== path) return fault
  const { timestamp } = value as { timestamp?: unknown }
  if (typeof timestamp !== 'string') return fault
  const message = /^\d{4}-\d{2}-\d{2}/.test(timestamp)
    ? 'must be a finite number: Unix seconds such as 1735689600.25, not ISO 8601'
    : /^\d+(?:\.\d+)?$/.test(timestamp) ? 'must be a finite number: Unix seconds without quotes' : fault.message
  return { path, message }
}

export const TOO_MANY_NAMES = `must not hold more than ${READING_NAMES_MAX} names, those of nested objects included`

/**
 * The first fault inside an unknown field. (JSON has no Infinity, but `1e999` parses to it.) Its path begins at `value`
 * and is built on the way back, so that the thousands of valid elements of a waveform cost no text.
 * @param counted - names of the reading so far; those found here are added
 */
function nestedFault (value: unknown, depth: number, counted: { names: number }): Fault | null {
  if (typeof value === 'number') return Number.isFinite(value) ? null : { path: '', message: 'must be a finite number' }
  if (typeof value !== 'object' || value === null) return null
  if (depth > READING_DEPTH_MAX) return { path: '', message: `must not nest deeper than ${READING_DEPTH_MAX} levels` }
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const fault = nestedFault(value[index], depth + 1, counted)
      if (fault !== null) return within(`/${index}`, fault)
    }
    return null
  }
  for (const [key, field] of Object.entries(value)) {
    if (++counted.names > READING_NAMES_MAX) return { path: '', message: TOO_MANY_NAMES }
    if (FORBIDDEN_NAMES.has(key)) return { path: `/${key}`, message: keyName(key) }
    const fault = nestedFault(field, depth + 1, counted)
    if (fault !== null) return within(`/${toPointerToken(key)}`, fault)
  }
  return null
}

const within = (base: string, { path, message }: Fault): Fault => ({ path: base + path, message })
