import type { Random } from '../../harness/random.ts'

/**
 * One vital sign wanders about a level: an Ornstein-Uhlenbeck walk, whose exact step is independent of how often it is
 * looked at, so a fitband that reports each second and a scale that reports each hour see the same kind of person.
 */
interface Walk {
  /** Its share that is the same at every time of day. */
  readonly baseline: number
  /** Added at the height of the day, and taken away in the depth of the night. */
  readonly daySwing: number
  /** Standard deviation about the level. */
  readonly spread: number
  /** Seconds after which a deviation has shrunk to 37 %. */
  readonly recoveryS: number
  readonly min: number
  readonly max: number
}

/** Body functions that walk by themselves; the vital signs are derived from them. */
type Sign = 'heartRate' | 'breathRate' | 'spo2' | 'diastolic' | 'pulsePressure' | 'temperature'

/** Body temperature and heart rate are lowest about four in the morning. */
const NADIR_S = 4 * 3600
const DAY_S = 86_400

/** Heart rate and oximeter count the same beats, yet average them differently. */
const PULSE_OFFSET_MAX = 3

/** What monitors would show at one instant: whole numbers, but for the temperature (one decimal). */
export interface VitalSigns {
  readonly heartRate: number
  readonly pulseRate: number
  readonly breathRate: number
  readonly spo2: number
  readonly systolic: number
  readonly diastolic: number
  readonly temperature: number
}

/**
 * A made-up person with baselines of their own, at rest.
 * @returns `at(timeS)`: the vital signs at a time (Unix seconds); call it with rising times. For one seed and one sequence of
 *   times the values are the same.
 */
export function createPatient (random: Random): { at: (timeS: number) => VitalSigns } {
  const walks = createWalks(random)
  const phaseS = random.between(-7200, 7200)
  const deviations = new Map<Sign, number>()
  let lastS: number | null = null

  const step = (sign: Sign, elapsedS: number | null): number => {
    const { spread, recoveryS } = walks[sign]
    const kept = elapsedS === null ? 0 : Math.exp(-elapsedS / recoveryS)
    const deviation = (deviations.get(sign) ?? 0) * kept + spread * Math.sqrt(1 - kept * kept) * random.normal()
    deviations.set(sign, deviation)
    return deviation
  }

  return {
    at (timeS) {
      const elapsedS = lastS === null ? null : Math.max(0, timeS - lastS)
      lastS = timeS
      const day = -Math.cos(2 * Math.PI * (timeS - NADIR_S - phaseS) / DAY_S)
      const level = (sign: Sign) => {
        const { baseline, daySwing, min, max } = walks[sign]
        return Math.min(max, Math.max(min, baseline + daySwing * day + step(sign, elapsedS)))
      }
      const heartRate = Math.round(level('heartRate'))
      const offset = Math.min(PULSE_OFFSET_MAX, Math.max(-PULSE_OFFSET_MAX, Math.round(random.normal() * 0.7)))
      const diastolic = Math.round(level('diastolic'))
      return {
        heartRate,
        pulseRate: heartRate + offset,
        breathRate: Math.round(level('breathRate')),
        spo2: Math.round(level('spo2')),
        diastolic,
        systolic: diastolic + Math.round(level('pulsePressure')),
        temperature: Math.round(level('temperature') * 10) / 10
      }
    }
  }
}

function createWalks (random: Random): Record<Sign, Walk> {
  return {
    heartRate: { baseline: random.between(58, 88), daySwing: random.between(2, 7), spread: 4, recoveryS: 90, min: 42, max: 140 },
    breathRate: { baseline: random.between(13, 18), daySwing: 0.5, spread: 1.2, recoveryS: 60, min: 10, max: 24 },
    spo2: { baseline: random.between(96, 98.5), daySwing: 0, spread: 0.8, recoveryS: 120, min: 90, max: 100 },
    diastolic: { baseline: random.between(64, 84), daySwing: random.between(1, 5), spread: 3, recoveryS: 900, min: 50, max: 105 },
    pulsePressure: { baseline: random.between(35, 50), daySwing: 1, spread: 3, recoveryS: 900, min: 25, max: 60 },
    temperature: { baseline: random.between(36.5, 37.1), daySwing: 0.25, spread: 0.1, recoveryS: 3600, min: 36.1, max: 37.8 }
  }
}
