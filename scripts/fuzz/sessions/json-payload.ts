import type { Chance } from './chance.ts'
import { PRIVATE_MARK } from './session.ts'

const NAMES = [
  'heartRateValue', 'breathRateValue', 'breathValue', 'pulseRateValue', 'bloodPressureSystolic', 'spo2Value', 'temperatureValue',
  'device', 'timestamp', 'note', 'n'
] as const

/** As they stand in the text, quoted and escaped. */
const EVIL_NAMES = [
  '"__proto__"', '"constructor"', '"prototype"', '"toString"', '"hasOwnProperty"', '"valueOf"', '"toJSON"', '"then"', '"length"', '""', '"0"', '"-1"',
  '"a/b~c"', '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\\u005f_proto__"', '"heart\\u0052ateValue"', '"\u{1f600}"', '"\\"', '"a":1,"a"', `"${'k'.repeat(300)}"`, 'a'
] as const

const EVIL_VALUES = [
  '1e999', '-1e999', '1e308', '-0', '0.1', '1e-400', '9007199254740993', '9'.repeat(400), `0.${'3'.repeat(400)}`, '1E+2', '01', '.5', '5.', '+1', '0x10', 'NaN', 'Infinity',
  'null', 'true', 'false', 'undefined', '""', '"\\u0000"', '"\\ud83d"', '"\\ude00\\ud83d"', '"\\x"', '"\n"', '"\u{1f600}"', '[]', '{}', '[[]]', '{"a":{}}',
  '{"__proto__":{"admin":true}}', '{"constructor":{"prototype":{"admin":true}}}', '[null,[1e999]]', '1750240830000', '99999999999', '-1', '"1"', `"${PRIVATE_MARK}"`, ''
] as const

function nest (chance: Chance): string {
  const depth = chance.is(0.02) ? chance.pick([1000, 10_000, 40_000]) : chance.pick([2, 31, 32, 33, 64, 200])
  const [open, close] = chance.pick([['[', ']'], ['{"a":', '}'], ['[{"b":', '}]']] as const)
  return open.repeat(depth) + (chance.is(0.8) ? '1' : '') + (chance.is(0.9) ? close.repeat(depth) : '')
}

function toLong (chance: Chance): string {
  const length = chance.is(0.03) ? 70_000 : chance.pick([100, 300, 2000])
  return `"${chance.pick(['x', '\\u0041', '\u00e9', '\\"', PRIVATE_MARK]).repeat(length / 8)}"`
}

function toValue (chance: Chance): string {
  const kind = chance.below(20)
  if (kind < 11) return chance.pick(EVIL_VALUES)
  if (kind < 16) return String(chance.below(2000) / 10)
  if (kind < 18) return nest(chance)
  return kind === 18 ? toLong(chance) : `{${toFields(chance, chance.few(4)).join(',')}}`
}

function toFields (chance: Chance, count: number): string[] {
  return Array.from({ length: count }, () =>
    `${chance.is(0.6) ? `"${chance.pick(NAMES)}"` : chance.pick(EVIL_NAMES)}${chance.is(0.98) ? ':' : ' '}${toValue(chance)}`)
}

/** A reading that is valid, and new: `n` is told from every other. */
export function validReading (chance: Chance, n: number, device?: string): string {
  const name = device === undefined ? '' : `"device":"${device}",`
  return `{${name}"timestamp":${1_750_000_000 + chance.below(4_000_000)}.${chance.below(1000)},"heartRateValue":${40 + chance.below(1000) / 10},"n":${n}}`
}

/** A reading with something wrong with it, perhaps. */
function hostileReading (chance: Chance, n: number, device?: string): string {
  const fields = [
    ...(chance.is(0.9) ? [`"timestamp":${chance.is(0.85) ? 1_750_000_000 + chance.below(4_000_000) : toValue(chance)}`] : []),
    ...(device !== undefined && chance.is(0.9) ? [`"device":"${device}"`] : []),
    ...toFields(chance, 1 + chance.few(chance.is(0.01) ? 2000 : 6)),
    `"n":${n}`
  ]
  // A name that comes again counts for the last time that it comes; order is nothing to rely on.
  if (chance.is(0.2)) fields.reverse()
  return `{${fields.join(chance.is(0.97) ? ',' : chance.pick([',,', ' ', ';', ' ,\n']))}}`
}

function hostileArray (chance: Chance, n: number, device?: string): string {
  const length = chance.is(0.02) ? chance.pick([999, 1000, 1001, 1500]) : chance.pick([0, 1, 2, 5, 20])
  const isMixed = length < 100
  const elements = Array.from({ length }, (_, index) => {
    if (!isMixed || chance.is(0.7)) return validReading(chance, n + index / 10_000, device)
    return chance.is(0.6) ? hostileReading(chance, n, device) : toValue(chance)
  })
  return `[${elements.join(',')}${chance.is(0.97) ? ']' : ''}`
}

function breakBytes (bytes: Buffer, chance: Chance): Buffer {
  const copy = Buffer.from(bytes)
  for (let times = 1 + chance.few(4); times > 0 && copy.length > 0; times--) copy[chance.below(copy.length)] = chance.below(256)
  const from = chance.is(0.3) ? chance.below(copy.length + 1) : 0
  return copy.subarray(from, chance.is(0.3) ? from + chance.below(copy.length - from + 1) : copy.length)
}

/** What a hostile or broken device sends where a reading is expected. */
export function hostilePayload (chance: Chance, n: number, device?: string): Buffer {
  const kind = chance.below(20)
  if (kind === 0) return chance.bytes(chance.few(500))
  if (kind === 1) return Buffer.from(toValue(chance))
  const text = kind < 6 ? hostileArray(chance, n, device) : hostileReading(chance, n, device)
  const bytes = Buffer.from(chance.is(0.05) ? `\ufeff${text}` : text)
  return chance.is(0.15) ? breakBytes(bytes, chance) : bytes
}
