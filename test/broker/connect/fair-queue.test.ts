import t from 'tap'
import { Lines } from '../../../broker/connect/fair-queue.ts'

const isWanted = (item: string) => !item.startsWith('gone')

t.test('turns go round by key, in order within each', async (t) => {
  const lines = new Lines<string>()
  for (const item of ['a1', 'a2', 'a3', 'b1', 'c1', 'b2']) lines.add(item[0]!, item)
  t.strictSame([lines.size, lines.lengthOf('a'), lines.lengthOf('z')], [6, 3, 0])
  t.strictSame(Array.from({ length: 4 }, () => lines.next(isWanted)), ['a1', 'b1', 'c1', 'a2'])
  lines.add('c', 'c2')
  t.strictSame(Array.from({ length: 4 }, () => lines.next(isWanted)), ['b2', 'a3', 'c2', undefined])
  t.equal(lines.size, 0)
})

t.test('what is not wanted is dropped, and its line passes its turn on', async (t) => {
  const lines = new Lines<string>()
  for (const [key, item] of [['a', 'gone1'], ['a', 'gone2'], ['b', 'gone3'], ['b', 'b1'], ['b', 'gone4'], ['b', 'b2']] as const) lines.add(key, item)
  t.equal(lines.next(isWanted), 'b1')
  t.strictSame([lines.size, lines.lengthOf('a'), lines.lengthOf('b')], [2, 0, 2])
  t.equal(lines.next(isWanted), 'b2')
  t.equal(lines.next(isWanted), undefined)
})

t.test('a closed line keeps its place', async (t) => {
  const lines = new Lines<string>()
  for (const item of ['a1', 'a2', 'b1', 'b2']) lines.add(item[0]!, item)
  const closed = new Set(['a'])
  const next = () => lines.next(isWanted, (key) => !closed.has(key))
  t.equal(next(), 'b1')
  closed.clear()
  t.strictSame([next(), next(), next()], ['a1', 'b2', 'a2'])
})

t.test('everything can be taken out', async (t) => {
  const lines = new Lines<string>()
  for (const item of ['a1', 'b1', 'a2']) lines.add(item[0]!, item)
  t.strictSame([...lines.drain()], ['a1', 'a2', 'b1'])
  t.strictSame([lines.size, lines.next(isWanted)], [0, undefined])
})
