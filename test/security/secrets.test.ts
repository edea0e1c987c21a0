import { createHash } from 'node:crypto'
import t from 'tap'
import { LruMap } from '../../src/security/lru-map.ts'
import { digestOf, generateSecret, isSameDigest, isSecret, toDigestBytes } from '../../src/security/secrets.ts'
import { createRandom } from '../helpers/random.ts'

t.test('generated secrets: 256 random bits behind a prefix', (t) => {
  const secrets = Array.from({ length: 1000 }, generateSecret)
  t.equal(new Set(secrets).size, 1000)
  for (const secret of secrets) t.ok(isSecret(secret), secret)
  for (const other of [
    '', 'vg_', 'vg_short', `${secrets[0]}x`, `x${secrets[0]}`, secrets[0]!.replace('vg_', 'vg-'), `${secrets[0]}\n`
  ]) t.notOk(isSecret(other), other)
  t.end()
})

t.test('the digest is SHA-256, and equal only to itself', (t) => {
  const digest = digestOf('vg_x')
  t.same(toDigestBytes(digest), createHash('sha256').update('vg_x').digest())
  t.ok(isSameDigest(digest, digestOf('vg_x')))
  t.notOk(isSameDigest(digest, digestOf('vg_y')))
  t.notOk(isSameDigest(digest, digest.slice(1)))
  for (let index = 0; index < digest.length; index++) {
    const changed = digest.slice(0, index) + String.fromCharCode(digest.charCodeAt(index) ^ 1) + digest.slice(index + 1)
    t.notOk(isSameDigest(digest, changed), `byte ${index}`)
  }
  t.end()
})

t.test('a full map evicts its least recently used entry', (t) => {
  const evicted: string[] = []
  const map = new LruMap<string, number>({ sizeMax: 4, onEvict: (_value, key) => { evicted.push(key) } })
  for (const [index, key] of ['a', 'b', 'c', 'd'].entries()) map.set(key, index)
  t.equal(map.get('a'), 0)
  map.set('e', 4)
  map.set('c', 5)
  map.set('f', 6)
  t.same(evicted, ['b', 'd'])
  t.equal(map.size, 4)
  t.equal(map.delete('a'), 0)
  t.equal(map.get('a'), undefined)
  map.clear()
  t.equal(map.size, 0)
  t.end()
})

t.test('the map agrees with a plain list after any operations', (t) => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 32)
  t.comment(`SEED=${seed}`)
  const random = createRandom(seed)
  const below = (bound: number) => Math.floor(random() * bound)
  let differences = 0
  const evicted: number[] = []
  const expected: number[] = []
  const map = new LruMap<number, number>({ sizeMax: 5, onEvict: (value) => { evicted.push(value) } })
  let order: Array<[number, number]> = []
  for (let step = 0; step < 5000; step++) {
    const key = below(9)
    const held = order.find(([other]) => other === key)
    const rest = order.filter(([other]) => other !== key)
    switch (below(4)) {
      case 0:
        order = rest
        if (map.delete(key) !== held?.[1]) differences++
        break
      case 1:
        if (held !== undefined) order = [...rest, held]
        if (map.get(key) !== held?.[1]) differences++
        break
      default:
        order = [...rest, [key, step]]
        if (order.length > 5) expected.push(order.shift()![1])
        map.set(key, step)
    }
  }
  t.equal(differences, 0)
  t.same(evicted, expected)
  t.equal(map.size, order.length)
  t.end()
})
