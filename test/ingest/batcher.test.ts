import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t, { type Test } from 'tap'
import { Batcher } from '../../src/ingest/batcher.ts'
import type { Batch } from '../../src/ingest/journal/journal.ts'
import { Ledger } from '../../src/ingest/ledger.ts'
import { Submission } from '../../src/ingest/submission.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const LIMITS = {
  batchReadingsMax: 4,
  batchBytesMax: 1000,
  flushIntervalMs: 2,
  batchesInFlightMax: 1,
  bufferReadingsMax: 1000,
  bufferBytesMax: 1e6,
  ackTimeoutMs: 200
}

/** A batcher whose batches are committed by the test. */
function start (t: Test) {
  const commits: Array<{ size: number, done: () => void }> = []
  const batcher = new Batcher({
    limits: LIMITS,
    ledger: new Ledger(),
    commit: (batch: Batch) => new Promise((resolve) => {
      commits.push({
        size: batch.submissions.length, done: () => { resolve('stored') }
      })
    }),
    monotonicMs: () => performance.now(),
    onPressure: () => {},
    onBatch: () => {},
    onSpooled: () => {}
  })
  t.teardown(() => { batcher.stop() })
  /** Submits one reading. From then on only the batcher holds it. */
  const submit = (): WeakRef<Submission> => {
    const fields = { timestamp: 1 }
    const submission = new Submission({
      transport: 'mqtt',
      clientId: 'a',
      readings: [{ device: 'a', timeUs: 1e6, hash: '', vitals: '{}', fields, receivedAtMs: 0 }],
      letters: [],
      bytes: 1,
      acceptedAtMs: performance.now(),
      isAllOrNothing: false,
      onSettled: () => {}
    })
    batcher.submit(submission)
    return new WeakRef(submission)
  }
  return { batcher, commits, submit }
}

const countAlive = (submissions: ReadonlyArray<WeakRef<Submission>>) =>
  submissions.filter((submission) => submission.deref() !== undefined).length

t.test('a settled submission is released while others wait', async (t) => {
  const { batcher, commits, submit } = start(t)
  const submissions = Array.from({ length: 10 }, submit)
  await turn()
  t.same(commits.map(({ size }) => size), [4])
  commits[0]?.done()
  // WeakRefs keep their targets alive until the turn of the event loop is over.
  await turn()
  await turn()
  t.same([commits.map(({ size }) => size), batcher.pending], [[4, 4], 6])
  collect()
  t.equal(countAlive(submissions), 6)
  t.equal(countAlive(submissions.slice(0, 4)), 0, 'the oldest')
})

t.test('a timed-out submission is released while others wait', async (t) => {
  const { batcher, submit } = start(t)
  const submissions = Array.from({ length: 8 }, submit)
  await sleep(LIMITS.ackTimeoutMs * 0.6)
  submissions.push(submit())
  await sleep(LIMITS.ackTimeoutMs * 0.7)
  t.equal(batcher.pending, 5, 'four are in flight, four were given up')
  collect()
  t.equal(countAlive(submissions.slice(4)), 1)
})
