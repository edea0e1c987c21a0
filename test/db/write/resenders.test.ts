import t from 'tap'
import { Resenders } from '../../../db/write/resenders.ts'
import type { ReadingRow } from '../../../db/rows.ts'
import { toReadingRow } from '../../../src/ingest/reading-row.ts'

const readings = ['a', 'b', 'a', 'c'].map((device, index) => toReadingRow({ timestamp: index }, device, 0))

function create () {
  let nowMs = 0
  const resenders = new Resenders(() => nowMs)
  return {
    resenders,
    wait: (ms: number) => { nowMs += ms },
    resent: () => resenders.toRuns(readings).filter(({ isInserted }) => isInserted)
      .flatMap(({ rows }) => rows.map(({ device, timeUs }) => `${device}${timeUs / 1e6}`)).join(' '),
    runs: (rows: readonly ReadingRow[]) => resenders.toRuns(rows)
      .map(({ rows, isInserted }) => `${isInserted ? '+' : ''}${rows.map(({ device }) => device).join('')}`).join(' ')
  }
}

t.test('a device counts as a resender after three batches of duplicates, until ten seconds without one', (t) => {
  const { resenders, resent, runs, wait } = create()
  resenders.note(['a'])
  resenders.note(['a', 'c'])
  t.equal(resent(), '')
  t.equal(runs(readings), 'abac')
  resenders.note(['a'])
  t.equal(resent(), 'a0 a2')
  t.equal(runs(readings), '+a b +a c', 'in their order of arrival')
  wait(9000)
  resenders.note(['a'])
  wait(9000)
  t.equal(resent(), 'a0 a2')
  wait(1000)
  t.equal(resent(), '')
  t.end()
})

t.test('ten thousand resenders are kept, and forgotten ones make room', (t) => {
  const { resenders, resent, wait } = create()
  const many = Array.from({ length: 10_000 }, (_, n) => `x${n}`)
  resenders.note(many)
  for (let batch = 0; batch < 3; batch++) resenders.note(['b'])
  t.equal(resent(), '')
  wait(10_000)
  resent()
  for (let batch = 0; batch < 3; batch++) resenders.note(['b'])
  t.equal(resent(), 'b1')
  t.end()
})

t.test('among many resenders the longest runs of other rows are copied, and the order stays', (t) => {
  const { resenders, runs } = create()
  for (let batch = 0; batch < 3; batch++) resenders.note(['b'])
  const rows = (text: string) => [...text].map((device, index) => toReadingRow({ timestamp: index }, device, 0))
  const text = `${'ab'.repeat(20)}${'aaab'.repeat(10)}c`
  t.equal(runs(rows(text)), `+${'ab'.repeat(20)} aaa${' +b aaa'.repeat(9)} +bc`)
  t.equal(runs(rows('bbb')), '+bbb')
  t.end()
})
