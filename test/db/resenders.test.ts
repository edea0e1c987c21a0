import t from 'tap'
import { Resenders } from '../../db/resenders.ts'
import { toReadingRow } from '../../src/ingest/reading-row.ts'

const readings = ['a', 'b', 'a', 'c'].map((device, index) => toReadingRow({ timestamp: index }, device, 0))

function create () {
  let nowMs = 0
  const resenders = new Resenders(() => nowMs)
  return {
    resenders,
    wait: (ms: number) => { nowMs += ms },
    resent: () => resenders.split(readings).resent.map(({ device, timeUs }) => `${device}${timeUs / 1e6}`).join(' ')
  }
}

t.test('two batches are forgiven, the third is not, and ten seconds without any are', (t) => {
  const { resenders, resent, wait } = create()
  resenders.note(['a'])
  resenders.note(['a', 'c'])
  t.equal(resent(), '')
  t.equal(resenders.split(readings).others.length, 4)
  resenders.note(['a'])
  t.equal(resent(), 'a0 a2')
  t.equal(resenders.split(readings).others.map(({ device }) => device).join(' '), 'b c')
  wait(9000)
  resenders.note(['a'])
  wait(9000)
  t.equal(resent(), 'a0 a2')
  wait(1000)
  t.equal(resent(), '')
  t.end()
})

t.test('ten thousand are remembered, and room is made as they are forgotten', (t) => {
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
