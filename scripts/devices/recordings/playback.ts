import type { Reading } from '../../../schemas/reading.ts'
import type { TimedReading } from '../fleet/fleet.ts'
import type { Sample } from './recording.ts'

/** How a respiratory rate of 0 is played: the dataset's notes call it a poor signal, not a measured value. */
export type RespZero = 'omit' | 'send'

/** The reading that a monitor would have published for one sample; what it did not measure is left out. */
export function toReading (sample: Sample, timestamp: number, respZero: RespZero): Reading {
  const { heartRate, respiratoryRate, pulseRate, spo2 } = sample
  const reading: Reading = { timestamp }
  if (heartRate !== null) reading.heartRateValue = heartRate
  if (respiratoryRate !== null && !(respiratoryRate === 0 && respZero === 'omit')) reading.breathRateValue = respiratoryRate
  if (pulseRate !== null) reading.pulseRateValue = pulseRate
  if (spo2 !== null) reading.spo2Value = spo2
  return reading
}

/**
 * The readings of one recording and when each is due. The first sample is at `startS`, whatever time the file gives it.
 * @param startS - Unix seconds of the first sample
 * @param speed - 1 is real time, 60 a minute each second; `Infinity` makes all due at once
 */
export function * toPlayback (samples: readonly Sample[], { startS, speed, respZero }: {
  startS: number
  speed: number
  respZero: RespZero
}): Generator<TimedReading> {
  const originS = samples[0]?.timeS ?? 0
  for (const sample of samples) {
    const elapsedS = sample.timeS - originS
    yield { dueMs: elapsedS * 1000 / speed, reading: toReading(sample, startS + elapsedS, respZero) }
  }
}

/**
 * The readings of one recording, played again and again from the clock's time on: a reading has the time at which it is
 * due, so that a gateway never sees the future however fast it is played. Endless, unless there are no samples.
 * @param startS - Unix seconds at which the first sample is due
 * @param speed - finite
 */
export function * toLoop (samples: readonly Sample[], { startS, speed, respZero }: {
  startS: number
  speed: number
  respZero: RespZero
}): Generator<TimedReading> {
  const originS = samples[0]?.timeS ?? 0
  const durationS = toDurationS(samples)
  // From the last sample to the first of the next lap: the usual distance of two samples.
  const lapS = durationS + (samples.length > 1 ? durationS / (samples.length - 1) : 1)
  for (let lap = 0; samples.length > 0; lap++) {
    for (const sample of samples) {
      const dueMs = Math.round((lap * lapS + sample.timeS - originS) * 1000 / speed)
      yield { dueMs, reading: toReading(sample, (Math.round(startS * 1000) + dueMs) / 1000, respZero) }
    }
  }
}

/** Seconds between a recording's first and last sample. */
export function toDurationS (samples: readonly Sample[]): number {
  return (samples.at(-1)?.timeS ?? 0) - (samples[0]?.timeS ?? 0)
}
