import t from 'tap'
import { isReading, type Reading } from '../../../../schemas/reading.ts'
import { toDeviceId, toDeviceKind, toReadings } from '../../../../scripts/devices/patients/device.ts'
import { createPatient } from '../../../../scripts/devices/patients/patient.ts'
import { Random } from '../../../../scripts/harness/random.ts'

const START_S = 1_735_689_600
const SEED = Math.floor(Math.random() * 2 ** 31)

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length

function deviation (values: readonly number[]): number {
  const middle = mean(values)
  return Math.sqrt(mean(values.map((value) => (value - middle) ** 2)))
}

function correlation (a: readonly number[], b: readonly number[]): number {
  const [middleA, middleB] = [mean(a), mean(b)]
  const covariance = mean(a.map((value, index) => (value - middleA) * ((b[index] ?? 0) - middleB)))
  return covariance / (deviation(a) * deviation(b))
}

t.test(`100,000 readings are medically plausible (seed ${SEED})`, async (t) => {
  const seen = new Map<string, number[]>()
  let faults = 0
  const expect = (right: boolean, reading: Reading, what: string) => {
    if (!right && faults++ < 5) t.fail(`${what}: ${JSON.stringify(reading)}`)
  }
  // 100 people with 1,000 readings each, over a day.
  for (let index = 0; index < 100; index++) {
    for (const { reading } of toReadings({ seed: SEED, index, rate: 1000 / 86_400, count: 1000, startS: START_S })) {
      expect(isReading(reading, START_S + 86_400), reading, 'no reading')
      for (const [key, value] of Object.entries(reading)) {
        const decimals = key === 'temperatureValue' ? 1 : 0
        if (key !== 'timestamp') expect(Number((value as number).toFixed(decimals)) === value, reading, `decimals of ${key}`)
        const values = seen.get(key) ?? []
        values.push(value as number)
        seen.set(key, values)
      }
      const { heartRateValue: heart, pulseRateValue: pulse, bloodPressureSystolic: systolic, bloodPressureDiastolic: diastolic } = reading
      if (pulse !== undefined) expect(Math.abs(pulse - (heart ?? NaN)) <= 3, reading, 'pulse apart from heart rate')
      if (systolic !== undefined) {
        const pressure = systolic - (diastolic ?? NaN)
        expect(pressure >= 25 && pressure <= 60, reading, 'pulse pressure')
      }
    }
  }
  t.equal(faults, 0)
  t.equal(seen.get('timestamp')?.length, 100_000)
  const bounds: Record<string, [number, number]> = {
    heartRateValue: [42, 140],
    pulseRateValue: [39, 143],
    breathRateValue: [10, 24],
    spo2Value: [90, 100],
    bloodPressureSystolic: [75, 165],
    bloodPressureDiastolic: [50, 105],
    temperatureValue: [36.1, 37.8]
  }
  t.strictSame([...seen.keys()].sort(), ['timestamp', ...Object.keys(bounds)].sort())
  for (const [key, [min, max]] of Object.entries(bounds)) {
    const values = seen.get(key) ?? []
    t.ok(Math.min(...values) >= min && Math.max(...values) <= max, `${key} from ${Math.min(...values)} to ${Math.max(...values)}`)
  }
  const spo2 = seen.get('spo2Value') ?? []
  t.ok(spo2.filter((value) => value >= 94).length / spo2.length > 0.98, 'saturation is mostly 94 or more')
})

t.test('heart rate moves little in a second, returns to a baseline, and the oximeter follows it', async (t) => {
  const patient = createPatient(new Random(1))
  const signs = Array.from({ length: 20_000 }, (_, second) => patient.at(START_S + second))
  const heart = signs.map(({ heartRate }) => heartRate)
  const steps = heart.slice(1).map((value, index) => Math.abs(value - (heart[index] ?? NaN)))
  t.ok(Math.max(...steps) <= 5, `largest step in a second is ${Math.max(...steps)}`)
  t.ok(deviation(heart) > 2 && deviation(heart) < 8, `deviation is ${deviation(heart)}`)
  t.ok(correlation(heart, signs.map(({ pulseRate }) => pulseRate)) > 0.9)
})

t.test('the spread of values does not depend on the sampling interval', async (t) => {
  const often = createPatient(new Random(2))
  const seldom = createPatient(new Random(2))
  const a = Array.from({ length: 50_000 }, (_, n) => often.at(START_S + n).heartRate)
  const b = Array.from({ length: 2000 }, (_, n) => seldom.at(START_S + n * 25).heartRate)
  t.ok(Math.abs(deviation(a) - deviation(b)) < 1, `${deviation(a)} and ${deviation(b)}`)
})

t.test('a body is cooler at four in the morning than in the afternoon', async (t) => {
  const patients = Array.from({ length: 200 }, (_, seed) => createPatient(new Random(seed)))
  const at = (hour: number) => mean(patients.map((patient) => patient.at(START_S + hour * 3600).temperature))
  const night = at(4)
  t.ok(at(16) - night > 0.3, 'about half a degree apart')
})

t.test('readings depend only on seed, index and times', async (t) => {
  const readings = (seed: number, index: number) => JSON.stringify([...toReadings({ seed, index, rate: 2, count: 50, startS: START_S })])
  t.equal(readings(7, 3), readings(7, 3))
  t.not(readings(7, 3), readings(8, 3))
  t.not(readings(7, 3), readings(7, 4))
})

t.test('readings are evenly spaced, out of step between devices, to the millisecond, and stamped when due', async (t) => {
  const phases = new Set<number>()
  for (let index = 0; index < 50; index++) {
    const timed = [...toReadings({ seed: 1, index, rate: 4, count: 20, startS: START_S + 0.123 })]
    for (const [n, { dueMs, reading }] of timed.entries()) {
      const expected = (timed[0]?.dueMs ?? 0) + n * 250
      if (Math.abs(dueMs - expected) > 1) t.fail(`due at ${dueMs}, not ${expected}`)
      if (Math.round(reading.timestamp * 1000) !== START_S * 1000 + 123 + dueMs) t.fail(`stamped ${reading.timestamp} when due at ${dueMs}`)
    }
    phases.add(timed[0]?.dueMs ?? NaN)
    if (!((timed[0]?.dueMs ?? NaN) <= 250)) t.fail('the first reading comes within one interval')
  }
  t.ok(phases.size > 25, `${phases.size} phases`)
})

t.test('each kind of device reports the vital signs that it measures', async (t) => {
  t.strictSame(Array.from({ length: 10 }, (_, index) => toDeviceKind(index)),
    [...Array<string>(7).fill('fitband'), 'monitor', 'monitor', 'scale'])
  t.equal(toDeviceId(9), 'scale-00010')
  const of = (index: number) => [...toReadings({ seed: 5, index, rate: 1, count: 3600, startS: START_S })].map(({ reading }) => reading)
  const band = of(0)
  t.ok(band.every(({ heartRateValue }) => heartRateValue !== undefined))
  const saturations = band.filter(({ spo2Value }) => spo2Value !== undefined).length
  t.ok(saturations > 60 && saturations < 240, `a band measured saturation ${saturations} times in an hour`)
  t.ok(of(7).every((reading) => Object.keys(reading).length === 5))
  const scale = of(9)
  const measured = scale.filter(({ bloodPressureSystolic }) => bloodPressureSystolic !== undefined).length
  t.ok(measured >= 5 && measured <= 20, `a scale measured ${measured} times in an hour`)
  t.equal(scale.filter((reading) => Object.keys(reading).length === 1).length, 3600 - measured, 'all other readings have no vital signs')
})

t.test('random numbers are uniform; normal ones have mean 0 and deviation 1', async (t) => {
  const random = new Random(SEED)
  const even = Array.from({ length: 50_000 }, () => random.between(2, 4))
  t.ok(even.every((value) => value >= 2 && value < 4))
  t.ok(Math.abs(mean(even) - 3) < 0.02)
  const normal = Array.from({ length: 50_000 }, () => random.normal())
  t.ok(Math.abs(mean(normal)) < 0.03 && Math.abs(deviation(normal) - 1) < 0.03, `seed ${SEED}`)
})
