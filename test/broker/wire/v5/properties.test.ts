/** Properties that subscribers get unaltered, as the bytes of the publisher. */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { Cursor } from '../../../../broker/wire/v5/cursor.ts'
import { CARRIER, decodeProperties } from '../../../../broker/wire/v5/properties.ts'
import { counted, field, join, type Part } from '../../../helpers/mqtt-bytes.ts'
import { holds } from '../../../helpers/property.ts'

const user = (key: string, value: string): Buffer => join([[0x26], field(key), field(value)])

const FORWARDED: readonly Part[] = [
  [0x01, 0], join([[0x03], field('application/json')]), join([[0x08], field('answers')]), join([[0x09], field('\0\xff')])
]
const KEPT = { publish: [[0x02, 0, 0, 0, 9], [0x23, 0, 7]], will: [[0x02, 0, 0, 0, 9], [0x18, 0, 0, 0, 5]] } as const

for (const carrier of ['publish', 'will'] as const) {
  t.test(`${carrier}: every order and every subset`, (t) => {
    const users = fc.array(fc.tuple(fc.constantFrom('a', 'b', '__proto__'), fc.constantFrom('1', '2'))
      .map(([key, value]) => user(key, value)))
    const parts = fc.tuple(fc.subarray([...FORWARDED]), fc.subarray([...KEPT[carrier]]), users)
      .chain(([forwarded, kept, users]) => {
        const all = [...forwarded, ...kept, ...users]
        return fc.shuffledSubarray(all.map((_, index) => index), { minLength: all.length })
          .map((order) => order.map((index) => ({ part: all[index]!, isForwarded: !kept.includes(all[index] as never) })))
      })
    holds(t, fc.property(parts, (parts) => {
      const bytes = join([counted(...parts.map(({ part }) => part)), [1, 2, 3]])
      const cursor = new Cursor(bytes)
      const properties = decodeProperties(cursor, CARRIER[carrier])
      const expected = join(parts.filter(({ isForwarded }) => isForwarded).map(({ part }) => part))
      assert.deepStrictEqual(properties.forwarded, expected.length === 0 ? null : expected)
      assert.equal(cursor.at, bytes.length - 3, 'the cursor stands behind the properties')
      assert.equal(cursor.end, bytes.length)
      const gaps = parts.map(({ isForwarded }) => isForwarded ? 'f' : ' ').join('').trim()
      const isView = properties.forwarded === null || properties.forwarded.buffer === bytes.buffer
      assert.equal(isView || gaps.includes(' '), true, 'contiguous ones are a view, not a copy')
    }))
    t.end()
  })
}

t.test('a view is of the packet itself', (t) => {
  const bytes = counted([0x02, 0, 0, 0, 9], user('k', 'v'), user('k', 'v'), [0x23, 0, 7])
  const { forwarded, messageExpiryS, topicAlias } = decodeProperties(new Cursor(bytes), CARRIER.publish)
  t.strictSame({ forwarded, messageExpiryS, topicAlias },
    { forwarded: join([user('k', 'v'), user('k', 'v')]), messageExpiryS: 9, topicAlias: 7 })
  bytes[bytes.indexOf('v')] = 0x77
  t.ok(forwarded?.includes('w'))
  t.end()
})

t.test('user properties of other packets are checked and dropped', (t) => {
  for (const carrier of [CARRIER.connect, CARRIER.acknowledgement, CARRIER.subscribe, CARRIER.unsubscribe, CARRIER.disconnect]) {
    t.equal(decodeProperties(new Cursor(counted(user('k', 'v'), user('k', 'v'))), carrier).forwarded, null)
  }
  t.end()
})
