import t from 'tap'
import { SetSize } from '../../../src/ingest/journal/replay-set.ts'

const ROW = 2048

t.test('a set that is slow makes the next one smaller, and a quick one larger', (t) => {
  const size = new SetSize()
  const first = size.weight
  for (let n = 0; n < 4; n++) size.succeed(size.weight, 50)
  t.equal(size.weight, 16 * first)
  size.succeed(size.weight, 500)
  t.equal(size.weight, 8 * first)
  for (let n = 0; n < 20; n++) size.succeed(size.weight, 10)
  t.equal(size.weight, 2000 * ROW, 'at most')
  t.end()
})

t.test('where each set takes long, however small, sets do not shrink to single readings', (t) => {
  const size = new SetSize()
  const first = size.weight
  for (let n = 0; n < 50; n++) size.succeed(size.weight, 400)
  t.equal(size.weight, first)
  for (let n = 0; n < 10; n++) size.fail(size.weight)
  t.equal(size.weight, ROW, 'one reading, after failures')
  for (let n = 0; n < 10; n++) size.succeed(size.weight, 400)
  t.equal(size.weight, first, 'and grows again, although each set is slow')
  t.end()
})
