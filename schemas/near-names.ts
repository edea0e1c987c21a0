import { ReadingSchema } from './reading.ts'

const VITAL_NAMES = Object.keys(ReadingSchema.properties).filter((name) => name !== 'device' && name !== 'timestamp')

/** Other common names of the vital signs; spelled as {@link toPlain} does. */
const OTHER_NAMES = {
  hr: 'heartRateValue',
  rr: 'breathRateValue',
  breath: 'breathRateValue',
  respirationrate: 'breathRateValue',
  respiratoryrate: 'breathRateValue',
  pulse: 'pulseRateValue',
  systolic: 'bloodPressureSystolic',
  diastolic: 'bloodPressureDiastolic',
  oxygensaturation: 'spo2Value',
  temp: 'temperatureValue'
}

const LENGTH_MAX = 64

const KNOWN = new Map([...VITAL_NAMES.map((name) => [toPlain(name), name] as const), ...Object.entries(OTHER_NAMES)])

/**
 * The vital sign that a name of a field nearly spells (`heart_rate`, `heartRate`, `SpO2`); `null` for any other name,
 * and for a vital sign's own.
 */
export function toKnownName (name: string): string | null {
  if (name.length > LENGTH_MAX) return null
  const known = KNOWN.get(toPlain(name))
  return known === undefined || VITAL_NAMES.includes(name) ? null : known
}

/** Without case, separators and the `Value` at the end. */
function toPlain (name: string): string {
  return name.toLowerCase().replaceAll(/[-_. ]/g, '').replace(/(.)value$/, '$1')
}
