import t from 'tap'
import { FairQueue } from '../../../broker/connect/fair-queue.ts'

const isWanted = (item: string) => !item.startsWith('gone')

t.test('turns go round by key, in order within each', async (t) => {
  const queue = new FairQueue<string>()
  for (const item of ['a1', 'a2', 'a3', 'b1', 'c1', 'b2']) queue.add(item[0]!, item)
  t.strictSame([queue.size, queue.lengthOf('a'), queue.lengthOf('z')], [6, 3, 0])
  t.strictSame(Array.from({ length: 4 }, () => queue.next(isWanted)), ['a1', 'b1', 'c1', 'a2'])
  queue.add('c', 'c2')
  t.strictSame(Array.from({ length: 4 }, () => queue.next(isWanted)), ['b2', 'a3', 'c2', undefined])
  t.equal(queue.size, 0)
})

t.test('an unwanted item is dropped, and the next one has its turn', async (t) => {
  const queue = new FairQueue<string>()
  for (const [key, item] of [
    ['a', 'gone1'], ['a', 'gone2'], ['b', 'gone3'], ['b', 'b1'], ['b', 'gone4'], ['b', 'b2']
  ] as const) queue.add(key, item)
  t.equal(queue.next(isWanted), 'b1')
  t.strictSame([queue.size, queue.lengthOf('a'), queue.lengthOf('b')], [2, 0, 2])
  t.equal(queue.next(isWanted), 'b2')
  t.equal(queue.next(isWanted), undefined)
})

t.test('a key that is not open keeps its place', async (t) => {
  const queue = new FairQueue<string>()
  for (const item of ['a1', 'a2', 'b1', 'b2']) queue.add(item[0]!, item)
  const closed = new Set(['a'])
  const next = () => queue.next(isWanted, (key) => !closed.has(key))
  t.equal(next(), 'b1')
  closed.clear()
  t.strictSame([next(), next(), next()], ['a1', 'b2', 'a2'])
})

t.test('drain takes out everything', async (t) => {
  const queue = new FairQueue<string>()
  for (const item of ['a1', 'b1', 'a2']) queue.add(item[0]!, item)
  t.strictSame([...queue.drain()], ['a1', 'a2', 'b1'])
  t.strictSame([queue.size, queue.next(isWanted)], [0, undefined])
})
