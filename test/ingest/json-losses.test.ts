import fc from 'fast-check'
import t from 'tap'
import { decode } from '../../src/ingest/decode.ts'
import { findLosses as findLossesIn } from '../../src/ingest/json-losses.ts'
import { walkJson } from '../../src/ingest/json-walk.ts'
import { holds } from '../helpers/property.ts'

const findLosses = (text: string, value: unknown) => findLossesIn(text, value, Buffer.from(text))
const NOW_MS = 1_750_300_000_000
const errorsOf = (text: string) => decode(Buffer.from(text), 'ward-3', NOW_MS).refused
  .flatMap(({ errors }) => errors.map(({ path }) => path))

t.test('a number is kept digit by digit, or its field is named', (t) => {
  const kept = [
    '0', '-0', '1', '-61.5', '61.0', '6.1e1', '9007199254740992', '9007199254740994', '0.1', '1e21', '1e300', '5e-324',
    '36.599998474121094', '0.30000000000000004', '1000000000000000000000', '1.50000000000000000000', '0e-400', '1E+2'
  ]
  const lost = [
    '9007199254740993', '-9007199254740993', '1e-400', '0.1234567890123456789', '36.600000000000001', '1.0000000000000000001',
    '123456789012345678901', '4.9e-324', '1e-324', '12345678901234567e5'
  ]
  for (const token of kept) {
    t.same(errorsOf(`{"timestamp":1,"serial":${token}}`), [], token)
    t.same(errorsOf(`{"timestamp":1,"a":{"b":[1,${token}]}}`), [], token)
  }
  for (const token of lost) {
    t.same(errorsOf(`{"timestamp":1,"serial":${token}}`), ['/serial'], token)
    t.same(errorsOf(`{"timestamp":1,"heartRateValue": ${token} }`), ['/heartRateValue'], token)
    t.same(errorsOf(`{"timestamp":1,"a/b":{"b":[1,${token}]}}`), ['/a~1b/b/1'], token)
    t.same(errorsOf(`[{"timestamp":1},{"timestamp":2,"x":${token}},{"timestamp":3}]`), ['/1/x'], token)
    t.same(errorsOf(`{"timestamp":1,"note":"${token}"}`), [], 'in a string it is text')
  }
  t.same(errorsOf('{"timestamp":1,"x":1e400}'), ['/x'])
  t.end()
})

t.test('a timestamp may have any digits and is rounded to the microsecond; a nested field of that name may not', (t) => {
  for (const text of [
    '{"timestamp":1750240830.123456789}', '{ "timestamp" : 1750240830.123456789 , "x" : 1 }',
    '[{"timestamp":1750240830.123456789},{"x":{"y":1},"timestamp":1750240830.123456789}]'
  ]) t.same(errorsOf(text), [], text)
  t.same(errorsOf('{"timestamp":1,"x":{"timestamp":1750240830.123456789}}'), ['/x/timestamp'])
  t.same(errorsOf('{"timestamp":1,"x\\"timestamp":1750240830.123456789}'), ['/x"timestamp'])
  t.same(errorsOf('{"timestamp":1e-400}'), ['/timestamp'])
  t.end()
})

t.test('a name twice in one object is refused, at any depth', (t) => {
  t.same(errorsOf('{"timestamp":1,"heartRateValue":61,"heartRateValue":62}'), ['/heartRateValue'])
  t.same(errorsOf('{"timestamp":1,"timestamp":1}'), ['/timestamp'])
  t.same(errorsOf('{"timestamp":1,"\\u0061":1,"a":2}'), ['/a'])
  t.same(errorsOf('{"timestamp":1,"x":[{"y":{"z":1,"z":1}}]}'), ['/x/0/y/z'])
  t.same(errorsOf('[{"timestamp":1},{"timestamp":1,"a":1,"a":1,"b":1,"b":2}]'), ['/1/a', '/1/b'])
  t.same(errorsOf('{"timestamp":1,"x":[{"y":1},{"y":1}],"y":"a:b,\\"y\\":1"}'), [], 'the same name elsewhere, and colons in text')
  const deep = `${'{"a":'.repeat(60)}1,"a":2${'}'.repeat(60)}`
  t.ok(findLosses(`{"timestamp":1,"x":${deep}}`, JSON.parse(`{"timestamp":1,"x":${deep}}`)) !== null, 'deeper than names are checked')
  const beside = '[{"timestamp":1,"a":1,"a":2},[true]]'
  t.ok(findLosses(beside, JSON.parse(beside)) !== null, 'beside an array, whose indices do not count as names')
  t.end()
})

t.test('each bad element of an array is refused alone, also beyond a hundred', (t) => {
  const elements = Array.from({ length: 300 }, (_, n) => n % 2 === 0 ? `{"timestamp":1,"n":${n}}` : `{"timestamp":1,"n":${n},"n":${n}}`)
  const { rows, refused } = decode(Buffer.from(`[${elements.join(',')}]`), 'a', NOW_MS)
  t.equal(rows.length, 150)
  t.equal(refused.length, 150)
  t.end()
})

const digits = (minLength: number) => fc.string({ unit: fc.constantFrom(...'0123456789'), minLength, maxLength: 20 })
const wholes = fc.oneof(fc.constant('0'), fc.tuple(fc.constantFrom(...'123456789'), digits(0)).map((parts) => parts.join('')))
const fractions = fc.oneof(fc.constant(''), digits(1).map((fraction) => `.${fraction}`))
const exponents = fc.oneof(
  { weight: 2, arbitrary: fc.constant('') },
  fc.tuple(fc.constantFrom('e', 'e+', 'e-'), fc.nat(329)).map((parts) => parts.join(''))
)
const numbers = fc.tuple(fc.constantFrom('', '-'), wholes, fractions, exponents).map((parts) => parts.join(''))

/** Valid JSON texts with spaces, names given twice, and numbers that a double cannot hold exactly. */
const { json: jsonTexts } = fc.letrec<{ json: string }>((tie) => ({
  json: fc.oneof(
    { maxDepth: 4 },
    numbers,
    fc.constantFrom('true', 'null', '"a\\"b:1"', '"\\u00e9\\\\"', '""'),
    fc.tuple(fc.array(tie('json'), { maxLength: 2 }), fc.constantFrom(',', ' , ')).map(([values, comma]) => `[${values.join(comma)}]`),
    fc.array(fc.tuple(fc.constantFrom('a', 'b', 'a:', 'timestamp'), fc.constantFrom(':', ' :\n'), tie('json')), { maxLength: 2 })
      .map((members) => `{${members.map(([name, colon, value]) => `"${name}"${colon}${value}`).join(',')}}`)
  )
}))

/** The numbers of a text as decimals, and other tokens by their first character. Parsing and writing must not change this. */
function toTokens (json: string): string {
  const tokens = json.matchAll(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|[a-z]+|\{/g)
  return [...tokens].map(([token]) => /^[-\d]/.test(token) ? toExact(token) : token[0]).join()
}

t.test('accepted numbers come back digit by digit', (t) => {
  holds(t, fc.property(jsonTexts, (text) => {
    // A timestamp is rounded to the microsecond, and a number beyond the range of a double is refused elsewhere.
    fc.pre(!text.includes('"timestamp"') && !/e\+?\d{3}/.test(text))
    const parsed: unknown = JSON.parse(text)
    return (findLosses(text, parsed) === null) === (toTokens(text) === toTokens(JSON.stringify(parsed)))
  }), 3000)
  t.end()
})

t.test('a walk finds a fault where JSON.parse finds one', (t) => {
  holds(t, fc.property(jsonTexts, fc.nat(), fc.constantFrom('', ...'x,:}]"\\'), (text, place, character) => {
    const cut = place % text.length
    const broken = character === '' ? text.slice(0, cut) : text.slice(0, cut) + character + text.slice(cut + 1)
    return walkJson(text) === -1 && (walkJson(broken) === -1) === isJson(broken)
  }), 3000)
  t.end()
})

function isJson (text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** A decimal as an integer and a power of ten. */
function toExact (token: string): string {
  const [mantissa = '', exponent = '0'] = token.toLowerCase().split('e')
  const [whole = '', fraction = ''] = mantissa.split('.')
  let value = BigInt(whole + fraction)
  let power = Number(exponent) - fraction.length
  if (value === 0n) return '0'
  while (value % 10n === 0n) {
    value /= 10n
    power++
  }
  return `${value}e${power}`
}
