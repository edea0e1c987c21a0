/** Any bytes sent as MQTT 5 are either decoded or refused with a `PacketError`. */
import fc from 'fast-check'
import t from 'tap'
import { LENGTH_BYTES_MAX } from '../../../../broker/wire/fixed-header.ts'
import { PacketError } from '../../../../broker/wire/v5/packet-error.ts'
import { counted, decode5, field, join, packet } from '../../../helpers/mqtt-bytes.ts'
import { holds } from '../../../helpers/property.ts'

const user = join([[0x26], field('__proto__'), field('größe'), [0x26], field('constructor'), field('')])
const message = join([[0x01, 1, 0x02, 0, 0, 0, 9, 0x03], field('text/plain'), user, [0x08], field('answers/1'), [0x09], field('\0')])
const SHARE = '$share/g/größe/#'

/** One packet of each type, with every property that it may have. */
const WHOLE: Readonly<Record<string, Buffer>> = {
  CONNECT: packet(0x10, field('MQTT'), [5, 0xee, 0, 60],
    counted([0x11, 0, 0, 0, 9, 0x21, 0, 9, 0x27, 0, 1, 0, 0, 0x22, 0, 9, 0x19, 1, 0x17, 0, 0x15], field('m'), [0x16], field('d'), user),
    field('größe'), counted([0x18, 0, 0, 0, 9], message), field('vital/a'), field('{}'), field('user'), field('secret')),
  PUBLISH: packet(0x3d, field('vital/größe'), [0, 9], counted(message, [0x23, 0, 1]), Buffer.from('{"größe":1}')),
  PUBACK: packet(0x40, [0, 9, 0x87], counted([0x1f], field('why'), user)),
  PUBREC: packet(0x50, [0, 9, 0x10], counted([0x1f], field('why'), user)),
  PUBREL: packet(0x62, [0, 9, 0x92], counted([0x1f], field('why'), user)),
  PUBCOMP: packet(0x70, [0, 9, 0x92], counted([0x1f], field('why'), user)),
  SUBSCRIBE: packet(0x82, [0, 9], counted([0x0b, 0x80, 1], user), field('a/+/#'), [0x2e], field(SHARE), [1]),
  UNSUBSCRIBE: packet(0xa2, [0, 9], counted(user), field('a/+/#'), field(SHARE)),
  DISCONNECT: packet(0xe0, [4], counted([0x11, 0, 0, 0, 9, 0x1f], field('why'), [0x1c], field('other'), user))
}

/** @returns whether it was decoded */
function isDecoded (bytes: Buffer): boolean {
  try {
    decode5(bytes)
    return true
  } catch (error) {
    if (error instanceof PacketError) return false
    throw error
  }
}

const bodyOf = (bytes: Buffer) => bytes.subarray(bytes.findIndex((byte, index) => index > 0 && byte < 0x80) + 1)

t.test('the whole packets are allowed', (t) => {
  for (const [name, bytes] of Object.entries(WHOLE)) t.ok(isDecoded(bytes), name)
  t.end()
})

t.test('any first byte and any body', (t) => {
  holds(t, fc.property(fc.integer({ min: 0, max: 255 }), fc.uint8Array({ maxLength: 200 }), (firstByte, body) => {
    isDecoded(packet(firstByte, [...body]))
  }), 20_000)
  t.end()
})

t.test('allowed packets with some bytes changed', (t) => {
  const change = fc.record({ at: fc.nat(), byte: fc.integer({ min: 0, max: 255 }) })
  holds(t, fc.property(fc.constantFrom(...Object.values(WHOLE)), fc.array(change, { minLength: 1, maxLength: 4 }), (whole, changes) => {
    const body = Buffer.from(bodyOf(whole))
    for (const { at, byte } of changes) body[at % body.length] = byte
    isDecoded(packet(whole[0]!, body))
  }), 20_000)
  t.end()
})

t.test('allowed packets cut at every byte, and with a byte more', (t) => {
  for (const [name, whole] of Object.entries(WHOLE)) {
    const body = bodyOf(whole)
    const ends = Array.from({ length: body.length + 1 }, (_, end) => end)
    const complete = ends.filter((end) => isDecoded(packet(whole[0]!, body.subarray(0, end))))
    // Optional parts at the end may be missing. The payload of a PUBLISH may be any bytes, but must be UTF-8 here.
    const shareBytes = field(SHARE).length
    const expected: Record<string, number[]> = {
      PUBACK: [2, 3],
      PUBREC: [2, 3],
      PUBREL: [2, 3],
      PUBCOMP: [2, 3],
      DISCONNECT: [0, 1],
      SUBSCRIBE: [body.length - shareBytes - 1],
      UNSUBSCRIBE: [body.length - shareBytes]
    }
    if (name === 'PUBLISH') t.ok(complete.length > 9 && complete[0]! >= body.indexOf('{"'), name)
    else t.strictSame(complete, [...expected[name] ?? [], body.length], `${name}: cut`)
    if (name !== 'PUBLISH') t.notOk(isDecoded(packet(whole[0]!, body, [0])), `${name}: a byte more`)
  }
  t.end()
})

t.test('any property length', (t) => {
  const body = (length: readonly number[]) => packet(0x30, field('a'), length, user)
  const lengths = fc.array(fc.integer({ min: 0, max: 255 }), { minLength: 1, maxLength: LENGTH_BYTES_MAX + 1 })
  holds(t, fc.property(lengths, (length) => { isDecoded(body(length)) }), 5000)
  t.end()
})
