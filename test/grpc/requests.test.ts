/** The bytes of requests and answers, against protobufjs. */
import { join } from 'node:path'
import { loadSync, type MethodDefinition } from '@grpc/proto-loader'
import t from 'tap'
import { READINGS_PER_ARRAY_MAX, VITAL_SIGNS } from '../../schemas/reading.ts'
import { encodeAnswer, encodeAnswers, toAnswer, toTooLarge } from '../../src/grpc/answers.ts'
import { decodeRequest, READING_FIELDS, readNumber } from '../../src/grpc/requests.ts'
import { encodeBytes, toTag, varintBytes, WIRE, writeVarint } from '../../src/grpc/wire.ts'
import { Random } from '../../scripts/harness/random.ts'

const proto = loadSync('vital/v1/ingest.proto', {
  includeDirs: [join(import.meta.dirname, '../../schemas')], longs: String, enums: String, defaults: true
})
const { Publish, Send } = proto['vital.v1.Ingest'] as unknown as Record<'Publish' | 'Send', MethodDefinition<object, object>>
const encode = (request: object): Buffer => Publish.requestSerialize(request)

const varint = (value: number | bigint): Buffer => {
  const bytes = Buffer.alloc(varintBytes(value))
  writeVarint(bytes, 0, value)
  return bytes
}
const field = (number: number, wireType: number, ...parts: Buffer[]) => Buffer.concat([varint(toTag(number, wireType)), ...parts])

/** `SEED` runs the same again. */
const SEED = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))
t.comment(`SEED=${SEED}`)

t.test('the proto file has every vital sign, under its JSON name in snake case', (t) => {
  const { fields } = { fields: READING_FIELDS }
  t.strictSame([...fields.values()].filter((name) => name !== 'timestamp'), VITAL_SIGNS)
  const descriptor = (proto['vital.v1.Reading'] as unknown as { type: { field: Array<{ name: string, number: number }> } }).type
  const toJsonName = (name: string) => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase())
  const doubles = descriptor.field.filter(({ name }) => name !== 'device' && name !== 'other')
  t.strictSame(doubles.map(({ name, number }) => [number, toJsonName(name)]), [...fields])
  t.end()
})

t.test('requests as protobufjs encodes them', (t) => {
  const random = new Random(SEED)
  const doubles = [0, -0, 1, 61.5, 1750240830.123456, 1e308, 5e-324, -1e-7]
  for (let run = 0; run < 300; run++) {
    const readings = Array.from({ length: random.below(5) }, () => {
      const reading: Record<string, unknown> = {}
      if (random.chance(0.9)) reading['device'] = random.pick(['a', 'ward-3', 'é😀', 'x'.repeat(200)])
      for (const name of READING_FIELDS.values()) if (random.chance(0.4)) reading[name] = random.pick(doubles)
      if (random.chance(0.3)) reading['other'] = Buffer.from('{"a":"é"}')
      return reading
    })
    const number = random.pick(['0', '1', '127', '128', '562949953421312', '9007199254740991', '9007199254740993', '18446744073709551615'])
    const decoded = decodeRequest(encode({ number, readings }))
    t.equal(String(decoded.number), number)
    if ('fault' in decoded.readings) throw new Error(decoded.readings.fault.message)
    t.strictSame(decoded.readings.fields, readings.map(({ other: _, ...fields }) => fields))
    t.strictSame([...decoded.readings.others].map(([index, bytes]) => [index, bytes.toString()]),
      readings.flatMap(({ other }, index) => other === undefined ? [] : [[index, '{"a":"é"}']]))
  }
  t.end()
})

const faultOf = (bytes: Buffer) => {
  const { readings } = decodeRequest(bytes)
  return 'fault' in readings ? readings.fault : null
}

t.test('bytes that decoding would lose are refused with the number of their request', (t) => {
  const number = field(1, WIRE.varint, varint(7))
  const double = Buffer.alloc(8)
  const cases: Array<[string, Buffer, string, RegExp]> = [
    ['an unknown field', encodeBytes(2, field(11, WIRE.fixed64, double)), '/0', /field 11, which this gateway does not know/],
    ['a heart rate as a float', encodeBytes(2, field(3, WIRE.fixed32, Buffer.alloc(4))), '/0', /field 3 with another type/],
    ['an unknown field of the request', field(9, WIRE.varint, varint(1)), '', /field 9, which/],
    ['readings as a number', field(2, WIRE.varint, varint(1)), '', /field 2 with another type/],
    ['a double given twice', encodeBytes(2, Buffer.concat(Array.from({ length: 2 }, () => field(9, WIRE.fixed64, double)))), '/0/spo2Value',
      /given twice/],
    ['a device given twice', encodeBytes(2, Buffer.concat([encodeBytes(1, 'a'), encodeBytes(1, 'a')])), '/0/device', /given twice/],
    ['other given twice', encodeBytes(2, Buffer.concat([encodeBytes(15, '{}'), encodeBytes(15, '{}')])), '/0/other', /given twice/],
    ['a device that is not UTF-8', encodeBytes(2, encodeBytes(1, Buffer.from([0xff]))), '/0/device', /UTF-8/],
    ['a reading that is cut', Buffer.from([0x12, 5, 0x11, 1]), '', /not a message/],
    ['a double that is cut', encodeBytes(2, Buffer.from([0x11, 1, 2])), '', /not a message/],
    ['a varint without an end', Buffer.alloc(12, 0xff), '', /not a message/],
    ['a group', field(3, 3), '', /field 3, which/]
  ]
  for (const [name, bytes, path, message] of cases) {
    const whole = Buffer.concat([number, bytes])
    const fault = faultOf(whole)
    t.equal(fault?.path, path, name)
    t.match(fault?.message, message, name)
    t.equal(decodeRequest(whole).number, 7, name)
    const isSkipped = !/^(?:a reading that is cut|a varint|a group)/.test(name)
    t.equal(readNumber(Buffer.concat([bytes, number])), isSkipped ? 7 : 0, `${name}, the number behind it`)
  }
  t.equal(faultOf(Buffer.alloc(0)), null, 'an empty request is decoded; the rules for readings refuse it')
  t.end()
})

t.test('random bytes are a request or a fault, and never an error', (t) => {
  const random = new Random(SEED)
  const good = encode({ number: '5', readings: [{ device: 'a', timestamp: 1, spo2Value: 97, other: Buffer.from('{"a":1}') }] })
  for (let run = 0; run < 20_000; run++) {
    const bytes = Buffer.from(good)
    for (let change = random.below(4); change >= 0; change--) bytes[random.below(bytes.length)] = random.below(256)
    decodeRequest(bytes.subarray(0, random.below(bytes.length + 1)))
  }
  t.pass()
  t.end()
})

t.test('of a request with too many readings no more are decoded than needed', (t) => {
  const readings = Array.from({ length: 1500 }, () => ({ device: 'a', timestamp: 1 }))
  const decoded = decodeRequest(encode({ number: '1', readings }))
  const fields = 'fields' in decoded.readings ? decoded.readings.fields : []
  t.equal(fields.length, 1500)
  t.equal(fields.filter(() => true).length, READINGS_PER_ARRAY_MAX + 1, 'the others are holes')
  t.end()
})

t.test('answers as protobufjs reads them', (t) => {
  const details = [{ path: '/0/spo2Value', message: 'must be a finite number' }, { path: '', message: 'é' }]
  const answers = [
    toAnswer(1, { status: 'durable', isDuplicate: false }),
    toAnswer(18446744073709551615n, { status: 'durable', isDuplicate: true }),
    toAnswer(300, { status: 'invalid', reason: 'invalid_reading', errors: details }),
    toAnswer(4, { status: 'forbidden' }),
    toAnswer(5, { status: 'unavailable' }),
    toAnswer(6, { status: 'overloaded' }),
    toTooLarge(0)
  ]
  const expected = [
    { number: '1', outcome: 'STORED', code: '', message: '', details: [] },
    { number: '18446744073709551615', outcome: 'DUPLICATE', code: '', message: '', details: [] },
    { number: '300', outcome: 'REJECTED', code: 'VITAL_INVALID_READING', message: /nothing of it was stored/, details },
    { number: '4', outcome: 'REJECTED', code: 'VITAL_FORBIDDEN' },
    { number: '5', outcome: 'UNAVAILABLE', code: 'VITAL_UNAVAILABLE' },
    { number: '6', outcome: 'UNAVAILABLE', code: 'VITAL_OVERLOADED' },
    { number: '0', outcome: 'REJECTED', code: 'VITAL_BODY_TOO_LARGE' }
  ]
  t.match(Publish.responseDeserialize(encodeAnswers(answers)), { answers: expected })
  for (const [index, answer] of answers.entries()) t.match(Send.responseDeserialize(encodeAnswer(answer)), expected[index]!)
  t.end()
})
