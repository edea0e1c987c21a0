import t from 'tap'
import type { Entry } from '../../../scripts/harness/checks/ledger-file.ts'
import { explainWait, measureWaits } from '../../../scripts/chaos/checks/waits.ts'

const entry = (n: number, sentAtMs: number, resentAtMs: readonly number[], acknowledgedAtMs: number | null): Entry =>
  ({ device: 'a', n, timeUs: 1, kind: 'reading', fields: {}, sentAtMs, resentAtMs, acknowledgedAtMs, refusedWith: null })

t.test('the time of a wait is separated from the answer of the gateway', (t) => {
  const patient = entry(0, 1000, [4000, 9500, 12_000], 10_000)
  const slow = entry(1, 1000, [], 2500)
  const ledger = new Map([['a', [patient, slow, undefined, entry(3, 0, [], null)]]])
  t.same(measureWaits(ledger), { slowestMs: 9000, slowest: patient, slowestAnswerMs: 1500, slowestAnswer: slow })
  t.same(measureWaits(new Map([['b', [entry(0, 0, [], 8000)]]]), measureWaits(ledger)),
    { slowestMs: 9000, slowest: patient, slowestAnswerMs: 8000, slowestAnswer: entry(0, 0, [], 8000) }, 'over two parts')
  t.same(measureWaits(new Map()), { slowestMs: 0, slowest: null, slowestAnswerMs: 0, slowestAnswer: null })
  const lives = [
    { startedAtMs: 0, readyAtMs: 500, endedAtMs: 900 },
    { startedAtMs: 500, readyAtMs: 800, endedAtMs: 1200 },
    { startedAtMs: 1300, readyAtMs: null, endedAtMs: 4500 },
    { startedAtMs: 5000, readyAtMs: 9000, endedAtMs: null },
    { startedAtMs: 11_000, readyAtMs: null, endedAtMs: null }
  ]
  t.equal(explainWait(patient, lives),
    'written again at 3.0 8.5 11.0; gateways (start/ready/end) -0.5/-0.2/0.2 0.3/never/3.5 4.0/8.0/never')
  t.end()
})
