import t from 'tap'
import {
  decodeLength, encodedLengthBytes, isPublishQos1, LENGTH_INCOMPLETE, LENGTH_MALFORMED, lengthBytes, lengthValue, typeOf, writeLength
} from '../../../broker/wire/fixed-header.ts'

/** The table of MQTT 3.1.1 §2.2.3: the smallest and the largest value of each size. */
const VALUES = [[0, 1], [127, 1], [128, 2], [16_383, 2], [16_384, 3], [2_097_151, 3], [2_097_152, 4], [268_435_455, 4]] as const

t.test('a remaining length is decoded as it was written, and incomplete until its last byte', (t) => {
  for (const [value, size] of VALUES) {
    const bytes = Buffer.alloc(8, 0x7f)
    t.equal(writeLength(bytes, 2, value), 2 + size, `${value}`)
    t.equal(encodedLengthBytes(value), size)
    const decoded = decodeLength(bytes, 2, bytes.length)
    t.strictSame([lengthValue(decoded), lengthBytes(decoded)], [value, size])
    for (let end = 2; end < 2 + size; end++) t.equal(decodeLength(bytes, 2, end), LENGTH_INCOMPLETE)
  }
  t.end()
})

t.test('a length of more than four bytes is malformed, however many have come', (t) => {
  const bytes = Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0x01])
  t.strictSame([3, 4, 5, 6].map((end) => decodeLength(bytes, 0, end)),
    [LENGTH_INCOMPLETE, LENGTH_MALFORMED, LENGTH_MALFORMED, LENGTH_MALFORMED])
  t.end()
})

t.test('first bytes', (t) => {
  const publishes = Array.from({ length: 256 }, (_, byte) => byte).filter(isPublishQos1)
  t.strictSame(publishes, [0x32, 0x3a], 'QoS 1, not retained, with or without DUP')
  t.equal(typeOf(0xe0), 14)
  t.end()
})
