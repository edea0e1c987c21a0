import type { VitalSign } from '../vital-signs.ts'

/** Where the axis of a vital sign without values begins. */
const EMPTY_FROM: Readonly<Record<VitalSign['id'], number>> = { hr: 50, pulse: 50, spo2: 90, resp: 10, bp: 60, temp: 36 }

/** A reading may hold any finite number, 1e300 too; there a step would change nothing. */
const AXIS_MAX = 1e9

const clamp = (value: number): number => Math.min(AXIS_MAX, Math.max(-AXIS_MAX, value))

/** Lowest and highest value of an axis: at multiples of a step, so that it stands still, and never narrower than `spanMin`. */
export function toAxisRange (sign: VitalSign, least: number | null, most: number | null): [number, number] {
  const { step, spanMin, most: cap = Infinity } = sign
  if (least === null || most === null) return [EMPTY_FROM[sign.id], EMPTY_FROM[sign.id] + spanMin]
  const [first, last] = [clamp(least), clamp(most)]
  let low = Math.floor(first / step) * step
  let high = Math.ceil(last / step) * step
  while (high - low < spanMin) {
    // Toward the side that has less room.
    if (high < cap && high - last <= first - low) high += step
    else low -= step
  }
  if (low < 0 && first >= 0) [low, high] = [0, high - low]
  return [low, high]
}
