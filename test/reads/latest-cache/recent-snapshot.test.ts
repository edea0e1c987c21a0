import t from 'tap'
import { createRecentSnapshot } from '../../../src/reads/latest-cache/recent-snapshot.ts'

t.test('a snapshot may be from before the call, but is never older than 200 ms, and one query runs at a time', async (t) => {
  let nowMs = 1000
  let asked = 0
  const recent = createRecentSnapshot(async () => ({ xmax: ++asked, xip: [] }), () => nowMs)
  const both = await Promise.all([recent(), recent()])
  t.strictSame(both.map(({ xmax }) => xmax), [1, 1], 'callers share a query')
  nowMs += 40
  t.equal((await recent()).xmax, 1)
  t.equal(asked, 1)
  nowMs += 20
  t.equal((await recent()).xmax, 1, 'the last one, while the next is queried')
  t.equal(asked, 2)
  await Promise.resolve()
  t.equal((await recent()).xmax, 2)
  nowMs += 201
  t.equal((await recent()).xmax, 3, 'the last one is too old, so the call waits')
})

t.test('a query that fails rejects, and is tried again', async (t) => {
  let isAway = true
  const recent = createRecentSnapshot(async () => {
    if (isAway) throw new Error('away')
    return { xmax: 1, xip: [] }
  })
  await t.rejects(recent(), /away/)
  isAway = false
  t.equal((await recent()).xmax, 1)
})
