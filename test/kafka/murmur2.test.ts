import t from 'tap'
import { murmur2, toPartitionHash } from '../../src/kafka/murmur2.ts'

/**
 * Key, Utils.murmur2 of it, and Utils.toPositive of that modulo 3, 6, 7 and 12: printed by the Java client of Kafka 4.4.0.
 */
const VECTORS: ReadonlyArray<readonly [string, number, number, number, number, number]> = [
  ['', 275646681, 0, 3, 2, 9],
  ['a', -1563381124, 1, 4, 5, 4],
  ['ab', 316155434, 2, 2, 0, 2],
  ['abc', 479470107, 0, 3, 4, 3],
  ['abcd', -1323649548, 2, 2, 5, 8],
  ['abcde', 461995741, 1, 1, 4, 1],
  ['ward-3', 132672949, 1, 1, 3, 1],
  ['ward-3-bed-12', 323817151, 1, 1, 0, 7],
  ['00000000-0000-4000-8000-000000000000', -1337040123, 2, 5, 3, 5],
  ['é', 186971271, 0, 3, 4, 3],
  ['温度', -43931296, 1, 4, 6, 4],
  ['😀', 131881617, 0, 3, 0, 9],
  ['device 7', -692573759, 0, 3, 6, 9],
  ['\\', 1293872751, 0, 3, 3, 3],
  ['\u0001', 2107329057, 0, 3, 1, 9],
  ['~', -325578150, 2, 2, 0, 2],
  ['x'.repeat(127), -1457322505, 1, 1, 0, 7],
  ['y'.repeat(128), -1876149423, 2, 5, 1, 5]
]

t.test('every key goes to the partition that Java\'s client gives it', (t) => {
  for (const [key, hash, ...partitions] of VECTORS) {
    t.equal(murmur2(Buffer.from(key)), hash, key)
    t.same([3, 6, 7, 12].map((count) => toPartitionHash(Buffer.from(key)) % count), partitions, key)
  }
  t.end()
})

t.test('ten thousand keys at once', (t) => {
  let folded = 0
  for (let index = 0; index < 10_000; index++) folded = Math.imul(31, folded) + murmur2(Buffer.from(`device-${index}`)) | 0
  // The same loop in Java: x = 31 * x + Utils.murmur2(…).
  t.equal(folded, 603_567_352)
  t.end()
})
