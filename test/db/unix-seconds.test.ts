import t from 'tap'
import { toUnixSeconds } from '../../db/unix-seconds.ts'

t.test('seconds are written as ECMAScript writes them', (t) => {
  const times = [
    0, 1, 999, 1000, 1e6 - 1, 1e6, 1_500_000, 1_000_100, 1_795_651_678_000_000, 1_795_651_678_000_001,
    1_795_651_678_120_000, 1_795_651_678_012_345,
    2 ** 32 * 1e6 - 1, 2 ** 32 * 1e6, 2 ** 53 - 1
  ]
  let random = 410
  for (let index = 0; index < 20_000; index++) {
    random = random * 48_271 % (2 ** 31 - 1)
    times.push(index % 2 === 0 ? random * 2_000_003 % (2 ** 32 * 1e6) : 1_795_651_678_000_000 + random)
  }
  t.same(times.filter((timeUs) => toUnixSeconds(timeUs) !== String(timeUs / 1e6)), [])
  t.equal(new Set(times).size > 19_000, true)
  t.end()
})
