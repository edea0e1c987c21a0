/** The vital signs that the page shows, in the order of its columns and charts. */
export interface VitalSign {
  readonly id: 'hr' | 'spo2' | 'pulse' | 'resp' | 'bp' | 'temp'
  readonly label: string
  readonly name: string
  readonly unit: string
  /** Names it is sent under; of several the first counts. Blood pressure: systolic. */
  readonly fields: readonly string[]
  /** Blood pressure: diastolic. */
  readonly lowField?: string
  readonly digits: number
  /** Least span of an axis, so that noise does not look like a crisis. */
  readonly spanMin: number
  /** The axis begins and ends at a multiple of this. */
  readonly step: number
  /** The highest possible value. */
  readonly most?: number
  /** Measured now and then: its clock time is shown, and the value is kept for 15 minutes. */
  readonly isOccasional?: true
}

export const VITAL_SIGNS: readonly VitalSign[] = [
  { id: 'hr', label: 'HR', name: 'Heart rate', unit: '/min', fields: ['heartRateValue'], digits: 0, spanMin: 40, step: 10 },
  { id: 'spo2', label: 'SpO₂', name: 'Oxygen saturation', unit: '%', fields: ['spo2Value'], digits: 0, spanMin: 10, step: 2, most: 100 },
  { id: 'pulse', label: 'PR', name: 'Pulse rate', unit: '/min', fields: ['pulseRateValue'], digits: 0, spanMin: 40, step: 10 },
  {
    id: 'resp',
    label: 'RESP',
    name: 'Breathing rate',
    unit: '/min',
    fields: ['breathRateValue', 'breathValue'],
    digits: 0,
    spanMin: 15,
    step: 5
  },
  {
    id: 'bp',
    label: 'BP',
    name: 'Blood pressure',
    unit: 'mmHg',
    fields: ['bloodPressureSystolic'],
    lowField: 'bloodPressureDiastolic',
    digits: 0,
    spanMin: 60,
    step: 20,
    isOccasional: true
  },
  {
    id: 'temp',
    label: 'TEMP',
    name: 'Temperature',
    unit: '°C',
    fields: ['temperatureValue'],
    digits: 1,
    spanMin: 2,
    step: 0.5,
    isOccasional: true
  }
]

const OCCASIONAL_KEPT_S = 900
const STALE_AFTER_MIN_S = 10
const INTERVALS_MISSED = 3

/** Seconds after which a value counts as stale: three of the device's own intervals. */
export const staleAfterS = (intervalS: number | null): number =>
  Math.max(STALE_AFTER_MIN_S, INTERVALS_MISSED * (intervalS ?? STALE_AFTER_MIN_S))

export interface ShownValue {
  readonly text: string
  readonly isStale: boolean
  /** Unix seconds; `null` where there is no value. */
  readonly atS: number | null
}

const MISSING: ShownValue = { text: '–', isStale: false, atS: null }

/** A number as it is shown; a missing one is a dash, never 0. */
export function toShown (
  sign: VitalSign,
  { vitals, times, intervalS }: {
    readonly vitals: Readonly<Record<string, unknown>>
    readonly times: Readonly<Record<string, number>>
    readonly intervalS: number | null
  },
  nowS: number
): ShownValue {
  const field = sign.fields.find((name) => typeof vitals[name] === 'number')
  if (field === undefined) return MISSING
  const atS = times[field] ?? null
  const low = sign.lowField === undefined ? undefined : vitals[sign.lowField]
  const text = (vitals[field] as number).toFixed(sign.digits) +
    (typeof low === 'number' ? `/${low.toFixed(sign.digits)}` : sign.lowField === undefined ? '' : '/–')
  const keptS = sign.isOccasional === true ? OCCASIONAL_KEPT_S : staleAfterS(intervalS)
  return { text, isStale: atS === null || nowS - atS > keptS, atS }
}
