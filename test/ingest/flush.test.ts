import t from 'tap'
import { DeadLetterCaps } from '../../src/ingest/dead-letter-caps.ts'
import { decideFlush } from '../../src/ingest/flush.ts'
import { toRetryDelayMs } from '../../src/ingest/journal/journal.ts'

const LIMITS = { batchReadingsMax: 100, batchBytesMax: 1000, flushIntervalMs: 5, batchesInFlightMax: 2 }

t.test('a batch is flushed by size, bytes or time, and never beyond the batches allowed in flight', (t) => {
  const state = { readings: 1, bytes: 10, ageMs: 0, batchesInFlight: 1 }
  t.equal(decideFlush({ ...state, readings: 0 }, LIMITS), null)
  t.equal(decideFlush({ ...state, batchesInFlight: 0 }, LIMITS), 0, 'at once when idle')
  t.equal(decideFlush(state, LIMITS), 5)
  t.equal(decideFlush({ ...state, ageMs: 3 }, LIMITS), 2)
  t.equal(decideFlush({ ...state, ageMs: 5 }, LIMITS), 0)
  t.equal(decideFlush({ ...state, readings: 100 }, LIMITS), 0)
  t.equal(decideFlush({ ...state, bytes: 1000 }, LIMITS), 0)
  t.equal(decideFlush({ ...state, readings: 100, batchesInFlight: 2 }, LIMITS), null)
  t.end()
})

t.test('dead letters are capped per device, in all and in bytes', (t) => {
  const caps = new DeadLetterCaps({ deadLettersPerDeviceMax: 2, deadLettersMax: 4, deadLetterBytesMax: 100 })
  t.same([caps.admit('a', 1), caps.admit('a', 1), caps.admit('a', 1)], [true, true, false])
  t.equal(caps.admit(null, 99), false, 'bytes')
  t.same([caps.admit(null, 1), caps.admit('b', 1), caps.admit('c', 1)], [true, true, false])
  caps.load([{ device: 'a', letters: 1, bytes: 1 }])
  t.same([caps.admit('a', 1), caps.admit('a', 1)], [true, false], 'counts follow the table')
  t.end()
})

t.test('retries wait longer, with jitter, up to a second', (t) => {
  t.equal(toRetryDelayMs(0, () => 0), 25)
  t.equal(toRetryDelayMs(0, () => 1), 50)
  t.equal(toRetryDelayMs(3, () => 1), 400)
  t.equal(toRetryDelayMs(1000, () => 1), 1000)
  t.end()
})
