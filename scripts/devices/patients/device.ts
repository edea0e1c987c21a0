import type { Reading } from '../../../schemas/reading.ts'
import type { TimedReading } from '../fleet/fleet.ts'
import { createPatient, type VitalSigns } from './patient.ts'
import { Random } from '../../harness/random.ts'

/** Kinds of made-up devices. */
export type DeviceKind = 'fitband' | 'scale' | 'monitor'

/** Between two measurements: a band's oximeter is costly to run, and a scale is rarely stepped on. */
const FITBAND_SPO2_EVERY_S = 30
const SCALE_EVERY_S = 300

/** Of ten devices seven are fitbands, two are monitors and one is a scale. */
export function toDeviceKind (index: number): DeviceKind {
  const place = index % 10
  return place < 7 ? 'fitband' : place < 9 ? 'monitor' : 'scale'
}

/** The device's id: its kind and its number, `fitband-00042`. */
export function toDeviceId (index: number): string {
  return `${toDeviceKind(index)}-${String(index + 1).padStart(5, '0')}`
}

/**
 * The readings of one made-up device. Its seed and times alone decide them.
 * @param seed - of the run; devices of one run differ by `index`
 * @param rate - readings per second
 * @param count - readings in all
 * @param startS - Unix seconds at which it starts; the first reading follows within one interval, at an instant of its own
 */
export function * toReadings ({ seed, index, rate, count, startS }: {
  seed: number
  index: number
  rate: number
  count: number
  startS: number
}): Generator<TimedReading> {
  const random = new Random(seed + Math.imul(index, 0x9e3779b1))
  const patient = createPatient(random)
  const compose = createComposer(toDeviceKind(index), random)
  const phaseS = random.between(0, 1 / rate)
  for (let n = 0; n < count; n++) {
    const elapsedMs = Math.round((phaseS + n / rate) * 1000)
    // Milliseconds are added as whole numbers: 0.1 + 0.2 would be 0.30000000000000004.
    const timestamp = (Math.round(startS * 1000) + elapsedMs) / 1000
    yield { dueMs: elapsedMs, reading: compose(timestamp, patient.at(timestamp)) }
  }
}

/** The vital signs that a kind of device reports, and when; between measurements a scale sends signs of life. */
function createComposer (kind: DeviceKind, random: Random): (timestamp: number, signs: VitalSigns) => Reading {
  switch (kind) {
    case 'fitband': {
      const spo2Due = createTimer(FITBAND_SPO2_EVERY_S, random)
      return (timestamp, { heartRate, spo2 }) => spo2Due(timestamp)
        ? { timestamp, heartRateValue: heartRate, spo2Value: spo2 }
        : { timestamp, heartRateValue: heartRate }
    }
    case 'monitor':
      return (timestamp, { heartRate, breathRate, pulseRate, spo2 }) =>
        ({ timestamp, heartRateValue: heartRate, breathRateValue: breathRate, pulseRateValue: pulseRate, spo2Value: spo2 })
    case 'scale': {
      const due = createTimer(SCALE_EVERY_S, random)
      return (timestamp, { systolic, diastolic, temperature }) => due(timestamp)
        ? { timestamp, bloodPressureSystolic: systolic, bloodPressureDiastolic: diastolic, temperatureValue: temperature }
        : { timestamp }
    }
  }
}

/** `true` about every `everyS` seconds, for the first time somewhere within them: devices of a fleet do not measure in step. */
function createTimer (everyS: number, random: Random): (timeS: number) => boolean {
  let dueS: number | null = null
  return (timeS) => {
    dueS ??= timeS + random.between(0, everyS)
    if (timeS < dueS) return false
    dueS = timeS + everyS * random.between(0.8, 1.2)
    return true
  }
}
