import { randomInt } from 'node:crypto'
import t from 'tap'
import { isReading } from '../../../schemas/reading.ts'
import { createPayload, writeReading } from '../../../scripts/bench/load/reading.ts'

t.test('each write gives a valid new reading, exact to the microsecond', (t) => {
  const startUs = 1_760_000_000_999_990
  const { payload, readingsAt: [at = 0] } = createPayload(1, 'bed-1')
  const seen = new Set<string>()
  for (let step = 0; step < 50; step++) {
    const random = randomInt(2 ** 32) | 0
    writeReading(payload, at, startUs + step, random)
    const reading: unknown = JSON.parse(payload.toString())
    if (!isReading(reading, startUs / 1e6 + 1)) throw new Error(`no reading: ${payload.toString()} of ${random}`)
    t.equal(Math.round(reading.timestamp * 1e6), startUs + step)
    t.equal(reading.device, 'bed-1')
    t.ok(reading.heartRateValue !== undefined && reading.heartRateValue >= 60 && reading.heartRateValue < 98)
    t.ok(reading.temperatureValue !== undefined && reading.temperatureValue >= 35 && reading.temperatureValue < 39)
    seen.add(payload.toString())
  }
  t.equal(seen.size, 50)
  t.end()
})

t.test('an array holds readings that are written one by one', (t) => {
  const { payload, readingsAt } = createPayload(3)
  readingsAt.forEach((at, index) => writeReading(payload, at, 1_760_000_000_000_000 + index, index * 0x1234567))
  const readings = JSON.parse(payload.toString()) as Array<{ timestamp: number }>
  t.same(readings.map(({ timestamp }) => Math.round(timestamp * 1e6) - 1_760_000_000_000_000), [0, 1, 2])
  t.end()
})
