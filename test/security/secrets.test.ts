import { createHash } from 'node:crypto'
import t from 'tap'
import { LruMap } from '../../src/security/lru-map.ts'
import { digestOf, generateSecret, isSameDigest, isSecret, toDigestBytes } from '../../src/security/secrets.ts'

t.test('generated secrets: 256 random bits behind a prefix', (t) => {
  const secrets = Array.from({ length: 1000 }, generateSecret)
  t.equal(new Set(secrets).size, 1000)
  for (const secret of secrets) t.ok(isSecret(secret), secret)
  for (const other of ['', 'vg_', 'vg_short', `${secrets[0]}x`, `x${secrets[0]}`, secrets[0]!.replace('vg_', 'vg-'), `${secrets[0]}\n`]) t.notOk(isSecret(other), other)
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

t.test('a full map lets go of what was not used for longest', (t) => {
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
