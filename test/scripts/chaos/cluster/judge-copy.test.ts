import t from 'tap'
import { findDifferences, type LatestState } from '../../../../scripts/chaos/cluster/judge-copy.ts'

const STATE: LatestState = { deviceId: 'a', timestamp: 1, vitals: { heartRateValue: 60 } }

t.test('a state that is missing in Redis, that is unexpected there, or that differs is found', async (t) => {
  const other = { ...STATE, deviceId: 'b' }
  t.strictSame(findDifferences([STATE, other], [other, STATE]), [])
  t.strictSame(findDifferences([STATE, other], [STATE]), ['b'])
  t.strictSame(findDifferences([STATE], [STATE, other]), ['b'])
  t.strictSame(findDifferences([STATE], [{ ...STATE, timestamp: 2 }]), ['a'])
  t.strictSame(findDifferences([STATE], [{ ...STATE, vitals: { heartRateValue: 61 } }]), ['a'])
})
