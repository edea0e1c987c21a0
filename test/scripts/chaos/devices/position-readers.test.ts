import t from 'tap'
import { judgeRead, type PositionRead } from '../../../../scripts/chaos/devices/position-readers.ts'

const READ: PositionRead = {
  path: '/vital-data/a', position: '1:0/1', owed: 7, status: 200, hasRetryAfter: false, newest: 7, tookMs: 5, isCalm: true
}

t.test('an answer that lacks what was acknowledged is found, whatever is struck', async (t) => {
  t.equal(judgeRead(READ), null)
  t.equal(judgeRead({ ...READ, newest: 8 }), null)
  for (const isCalm of [true, false]) {
    t.match(judgeRead({ ...READ, newest: 6, isCalm }), /with 1:0\/1 shows reading 6, and 7 was acknowledged/)
    t.match(judgeRead({ ...READ, status: 404, newest: 0, isCalm }), /shows reading 0/)
    t.match(judgeRead({ ...READ, position: null, newest: 6, isCalm }), /without a position shows reading 6/)
  }
  t.equal(judgeRead({ ...READ, position: null, owed: 0, status: 404, newest: 0 }), null, 'nothing was owed yet')
})

t.test('a read that is refused otherwise than by 503 is found, and one that takes too long while only the replica is struck', async (t) => {
  t.equal(judgeRead({ ...READ, status: 503, hasRetryAfter: true, newest: 0 }), null)
  t.match(judgeRead({ ...READ, status: 503, newest: 0 }), /503 without Retry-After/)
  t.match(judgeRead({ ...READ, status: 500, newest: 0, isCalm: false }), /answered 500/)
  t.match(judgeRead({ ...READ, status: null, newest: 0 }), /was not answered/)
  t.equal(judgeRead({ ...READ, status: null, newest: 0, isCalm: false }), null, 'a gateway was struck')
  t.match(judgeRead({ ...READ, tookMs: 12_000 }), /took 12000 ms/)
  t.equal(judgeRead({ ...READ, tookMs: 12_000, isCalm: false }), null)
})
