import type { Bucket } from '../../db/rollups/select-buckets.ts'

export interface StoredReading extends Record<string, unknown> {
  /** Unix seconds. */
  readonly time: number
  readonly vitals: Readonly<Record<string, unknown>>
}

const SIGNS = new Set([
  'heartRateValue', 'breathRateValue', 'breathValue', 'pulseRateValue', 'bloodPressureSystolic', 'bloodPressureDiastolic',
  'spo2Value', 'temperatureValue'
])

/** Averages of readings ordered by time and hash, computed in the simplest way. Values have one decimal at most. */
export function recompute (readings: readonly StoredReading[], seconds: number): unknown[] {
  const buckets = new Map<number, StoredReading[]>()
  for (const reading of readings) {
    const from = Math.floor(reading.time / seconds) * seconds
    buckets.set(from, [...buckets.get(from) ?? [], reading])
  }
  return [...buckets].map(([from, held]) => {
    const signs = [...new Set(held.flatMap(({ vitals }) => Object.keys(vitals)))].filter((sign) => SIGNS.has(sign)).sort()
    return {
      from,
      to: from + seconds,
      count: held.length,
      vitals: signs.map((sign) => {
        const values = held.map(({ vitals }) => vitals[sign]).filter((value): value is number => typeof value === 'number')
        const sum = values.reduce((sum, value) => sum + Math.round(value * 10), 0)
        return [sign, {
          count: values.length,
          min: Math.min(...values),
          max: Math.max(...values),
          mean: sum / (10 * values.length),
          first: values[0],
          last: values.at(-1)
        }]
      })
    }
  })
}

/** An answer of the gateway in the same form. */
export function toNumbers ({ from, to, count, vitals }: Bucket): unknown {
  return {
    from,
    to,
    count,
    vitals: [...vitals].sort(([a], [b]) => a < b ? -1 : 1).map(([sign, { count, min, max, mean, first, last }]) =>
      [sign, { count, min: Number(min), max: Number(max), mean: Number(mean), first: Number(first), last: Number(last) }])
  }
}
