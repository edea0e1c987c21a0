import t from 'tap'
import { toAxisRange } from '../../src/web/device/axis-range.ts'
import { createTrack } from '../../src/web/device/track.ts'
import { VITAL_SIGNS } from '../../src/web/vital-signs.ts'
import { exactly } from '../helpers/exactly.ts'

const sign = (id: string) => VITAL_SIGNS.find((known) => known.id === id)!
const HR = sign('hr')
const BP = sign('bp')

const read = (timestamp: number, heartRateValue: number) => ({ timestamp, vitals: { heartRateValue } })
const bucket = (from: number, mean: number, every = 300) =>
  ({ from, to: from + every, vitals: { heartRateValue: { min: mean - 5, max: mean + 5, mean } } })

t.test('history and live readings join: each is one point, in order, whatever their order of arrival', async (t) => {
  const track = createTrack(null)
  for (const at of [103, 104]) track.takeReading(read(at, at))
  for (const at of [104, 102, 101, 103]) track.takeReading(read(at, at))
  track.takeReading({ timestamp: 102, vitals: { spo2Value: 97 } })
  const { x, value } = track.columnsOf(HR)
  t.same(x, [101, 102, 103, 104])
  t.same(value, [101, 102, 103, 104])
  t.same(track.columnsOf(sign('spo2')).x, [102])
  t.equal(track.lastS, 104)
  t.equal(track.columnsOf(HR), track.columnsOf(HR), 'nothing is computed twice')
})

t.test('a line ends where the device was silent for three of its own intervals, and for ten seconds', async (t) => {
  const track = createTrack(null)
  for (const at of [0, 1, 2, 3, 12, 13, 24]) track.takeReading(read(at, 60))
  t.same(track.columnsOf(HR).value, [60, 60, 60, 60, 60, 60, null, 60], 'nine seconds are not a gap, eleven are')
  t.equal(track.pointAt(HR, 13.4)?.atS, 13)
  t.equal(track.pointAt(HR, 18.5), null, 'no value is invented within the gap')
  const slow = createTrack(null)
  for (const at of [0, 60, 120, 180, 340, 600]) slow.takeReading(read(at, 60))
  t.same(slow.columnsOf(HR).value, [60, 60, 60, 60, 60, null, 60])
})

t.test('an hour without readings is a gap of 24 h and of 7 d, and averages keep their extremes', async (t) => {
  for (const every of [300, 900]) {
    const track = createTrack(every)
    for (let at = 0; at < 20; at++) track.takeBucket(bucket(at * every, 70, every))
    const laterS = 20 * every + 3600
    track.takeBucket(bucket(laterS, 80, every))
    track.takeBucket(bucket(laterS, 81, every))
    const { x, value, low, high } = track.columnsOf(HR)
    t.equal(value.at(-2), null, `every ${every} s`)
    t.equal(value.at(-1), 81, 'a bucket that grew is replaced')
    t.same([low[0], high[0], x[0]], [65, 75, every / 2])
  }
})

t.test('blood pressure is a band, measured now and then', async (t) => {
  const track = createTrack(null)
  const vitals = { bloodPressureSystolic: 120, bloodPressureDiastolic: 78 }
  for (const timestamp of [0, 900, 1800, 9000]) track.takeReading({ timestamp, vitals })
  track.takeReading({ timestamp: 9900, vitals: { bloodPressureSystolic: 121 } })
  t.match(track.columnsOf(BP), { low: exactly(78, 78, 78, null, 78, null), high: exactly(120, 120, 120, null, 120, 121) })
})

t.test('a live track forgets what has left its window', async (t) => {
  const track = createTrack(null)
  for (let at = 0; at < 100; at++) track.takeReading(read(at, 60))
  track.trim(90)
  t.equal(track.size, 10)
  t.equal(track.stepFrom([HR], 95, 1), 96)
  t.equal(track.stepFrom([HR], 95, -1), 94)
  t.equal(track.stepFrom([HR], 99, 1), null)
})

t.test('an axis has a minimum span, ends on steps, and stays within possible values', async (t) => {
  t.same(toAxisRange(HR, 71, 73), [50, 90])
  t.same(toAxisRange(HR, 31, 188), [30, 190])
  t.same(toAxisRange(sign('spo2'), 97, 99), [90, 100])
  t.same(toAxisRange(sign('resp'), 2, 4), [0, 15])
  t.same(toAxisRange(sign('temp'), 36.8, 36.9), [36, 38])
  t.same(toAxisRange(HR, 1e300, 1e300), [1e9 - 20, 1e9 + 20], 'for any finite number')
  for (const vital of VITAL_SIGNS) {
    const [low, high] = toAxisRange(vital, null, null)
    t.equal(high - low, vital.spanMin)
  }
})
