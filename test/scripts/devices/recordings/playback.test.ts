import t from 'tap'
import { isReading } from '../../../../schemas/reading.ts'
import type { TimedReading } from '../../../../scripts/devices/fleet/fleet.ts'
import { readRecordings, toDevice } from '../../../../scripts/devices/recordings/folder.ts'
import { toDurationS, toLoop, toPlayback, toReading } from '../../../../scripts/devices/recordings/playback.ts'
import { FIXTURES } from '../fleet/script.ts'

const NOTHING = { timeS: 0, heartRate: null, pulseRate: null, respiratoryRate: null, spo2: null }

t.test('a sample becomes a reading with the names of the schema', async (t) => {
  const sample = { timeS: 3, heartRate: 88, pulseRate: 87, respiratoryRate: 16, spo2: 97 }
  t.strictSame(toReading(sample, 1000, 'omit'), {
    timestamp: 1000, heartRateValue: 88, breathRateValue: 16, pulseRateValue: 87, spo2Value: 97
  })
})

t.test('vital signs without a value are left out; a sample without values is a reading without vital signs', async (t) => {
  t.strictSame(toReading({ ...NOTHING, heartRate: 88 }, 1000, 'omit'), { timestamp: 1000, heartRateValue: 88 })
  t.strictSame(toReading(NOTHING, 1000, 'omit'), { timestamp: 1000 })
})

t.test('a respiratory rate of 0 is a poor signal, unless asked for; other zeros are values', async (t) => {
  const zeros = { timeS: 0, heartRate: 0, pulseRate: 0, respiratoryRate: 0, spo2: 0 }
  t.strictSame(toReading(zeros, 1, 'omit'), { timestamp: 1, heartRateValue: 0, pulseRateValue: 0, spo2Value: 0 })
  t.equal(toReading(zeros, 1, 'send')['breathRateValue'], 0)
})

t.test('the first sample is at the start, whatever its time in the file', async (t) => {
  const samples = [-1, 0, 1, 3].map((timeS) => ({ ...NOTHING, timeS }))
  const options = { startS: 0, respZero: 'omit' } as const
  const played = [...toPlayback(samples, { ...options, speed: 60 })]
  t.strictSame(played.map(({ reading }) => reading.timestamp), [0, 1, 2, 4])
  t.strictSame(played.map(({ dueMs }) => Math.round(dueMs * 60)), [0, 1000, 2000, 4000])
  t.ok([...toPlayback(samples, { ...options, speed: Infinity })].every(({ dueMs }) => dueMs === 0), 'at full speed all is due at once')
  t.equal(toDurationS(samples), 4)
  t.equal(toDurationS([]), 0)
  t.strictSame([...toPlayback([], { ...options, speed: 1 })], [])
})

t.test('a loop begins again one sample later, and each reading has the time at which it is due', async (t) => {
  const samples = [-1, 0, 1].map((timeS) => ({ ...NOTHING, timeS, heartRate: 60 + timeS }))
  const take = (loop: Iterable<TimedReading>, count: number) => {
    const taken: Array<[dueMs: number, timestamp: number, heartRate: unknown]> = []
    for (const { dueMs, reading } of loop) {
      taken.push([dueMs, reading.timestamp, reading.heartRateValue])
      if (taken.length === count) break
    }
    return taken
  }
  t.strictSame(take(toLoop(samples, { startS: 1000, speed: 1, respZero: 'omit' }), 5),
    [[0, 1000, 59], [1000, 1001, 60], [2000, 1002, 61], [3000, 1003, 59], [4000, 1004, 60]])
  t.strictSame(take(toLoop(samples, { startS: 1000, speed: 10, respZero: 'omit' }), 4),
    [[0, 1000, 59], [100, 1000.1, 60], [200, 1000.2, 61], [300, 1000.3, 59]])
  t.strictSame(take(toLoop(samples.slice(0, 1), { startS: 0, speed: 1, respZero: 'omit' }), 2), [[0, 0, 59], [1000, 1, 59]])
  t.strictSame([...toLoop([], { startS: 0, speed: 1, respZero: 'omit' })], [])
})

t.test('each file of the excerpt is a device', async (t) => {
  t.equal(toDevice('bidmc_07_Numerics.csv'), 'bidmc-07')
  t.equal(toDevice('README.md'), null)
  const recordings = await readRecordings(FIXTURES)
  t.strictSame(recordings.map(({ device, samples }) => [device, samples.length]), [['bidmc-13', 80], ['bidmc-19', 80], ['bidmc-23', 80]])
  t.equal(recordings[2]?.samples[0]?.timeS, -1)
  for (const { samples } of recordings) {
    for (const { reading } of toPlayback(samples, { startS: 1_735_689_600, speed: 1, respZero: 'omit' })) {
      if (!isReading(reading, 1_735_700_000)) t.fail(`not a reading: ${JSON.stringify(reading)}`)
    }
  }
})
