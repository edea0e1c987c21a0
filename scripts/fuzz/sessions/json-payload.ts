import type { SessionRandom } from './session-random.ts'
import { PRIVATE_MARK } from './session.ts'

const NAMES = [
  'heartRateValue', 'breathRateValue', 'breathValue', 'pulseRateValue', 'bloodPressureSystolic', 'spo2Value', 'temperatureValue',
  'device', 'timestamp', 'note', 'n'
] as const

/** As they stand in the text, quoted and escaped. */
const EVIL_NAMES = [
  '"__proto__"', '"constructor"', '"prototype"', '"toString"', '"hasOwnProperty"', '"valueOf"', '"toJSON"', '"then"',
  '"length"', '""', '"0"', '"-1"',
  '"a/b~c"', '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\\u005f_proto__"', '"heart\\u0052ateValue"',
  '"\u{1f600}"', '"\\"', '"a":1,"a"', `"${'k'.repeat(300)}"`, 'a'
] as const

const EVIL_VALUES = [
  '1e999', '-1e999', '1e308', '-0', '0.1', '1e-400', '9007199254740993', '9'.repeat(400), `0.${'3'.repeat(400)}`,
  '1E+2', '01', '.5', '5.', '+1', '0x10', 'NaN', 'Infinity',
  'null', 'true', 'false', 'undefined', '""', '"\\u0000"', '"\\ud83d"', '"\\ude00\\ud83d"', '"\\x"', '"\n"',
  '"\u{1f600}"', '[]', '{}', '[[]]', '{"a":{}}',
  '{"__proto__":{"admin":true}}', '{"constructor":{"prototype":{"admin":true}}}', '[null,[1e999]]', '1750240830000',
  '99999999999', '-1', '"1"', `"${PRIVATE_MARK}"`, ''
] as const

function nest (random: SessionRandom): string {
  const depth = random.chance(0.02) ? random.pick([1000, 10_000, 40_000]) : random.pick([2, 31, 32, 33, 64, 200])
  const [open, close] = random.pick([['[', ']'], ['{"a":', '}'], ['[{"b":', '}]']] as const)
  return open.repeat(depth) + (random.chance(0.8) ? '1' : '') + (random.chance(0.9) ? close.repeat(depth) : '')
}

function toLong (random: SessionRandom): string {
  const length = random.chance(0.03) ? 70_000 : random.pick([100, 300, 2000])
  return `"${random.pick(['x', '\\u0041', '\u00e9', '\\"', PRIVATE_MARK]).repeat(length / 8)}"`
}

function toValue (random: SessionRandom): string {
  const kind = random.below(20)
  if (kind < 11) return random.pick(EVIL_VALUES)
  if (kind < 16) return String(random.below(2000) / 10)
  if (kind < 18) return nest(random)
  return kind === 18 ? toLong(random) : `{${toFields(random, random.few(4)).join(',')}}`
}

function toFields (random: SessionRandom, count: number): string[] {
  return Array.from({ length: count }, () =>
    `${random.chance(0.6) ? `"${random.pick(NAMES)}"` : random.pick(EVIL_NAMES)}${random.chance(0.98) ? ':' : ' '}${toValue(random)}`)
}

/** A valid new reading: its `n` is unique. */
export function validReading (random: SessionRandom, n: number, device?: string): string {
  const name = device === undefined ? '' : `"device":"${device}",`
  const timestamp = `${1_750_000_000 + random.below(4_000_000)}.${random.below(1000)}`
  return `{${name}"timestamp":${timestamp},"heartRateValue":${40 + random.below(1000) / 10},"n":${n}}`
}

/** A reading that may have something wrong with it. */
function hostileReading (random: SessionRandom, n: number, device?: string): string {
  const fields = [
    ...(random.chance(0.9) ? [`"timestamp":${random.chance(0.85) ? 1_750_000_000 + random.below(4_000_000) : toValue(random)}`] : []),
    ...(device !== undefined && random.chance(0.9) ? [`"device":"${device}"`] : []),
    ...toFields(random, 1 + random.few(random.chance(0.01) ? 2000 : 6)),
    `"n":${n}`
  ]
  // Of a repeated name the last value counts; otherwise the order must not matter.
  if (random.chance(0.2)) fields.reverse()
  return `{${fields.join(random.chance(0.97) ? ',' : random.pick([',,', ' ', ';', ' ,\n']))}}`
}

function hostileArray (random: SessionRandom, n: number, device?: string): string {
  const length = random.chance(0.02) ? random.pick([999, 1000, 1001, 1500]) : random.pick([0, 1, 2, 5, 20])
  const isMixed = length < 100
  const elements = Array.from({ length }, (_, index) => {
    if (!isMixed || random.chance(0.7)) return validReading(random, n + index / 10_000, device)
    return random.chance(0.6) ? hostileReading(random, n, device) : toValue(random)
  })
  return `[${elements.join(',')}${random.chance(0.97) ? ']' : ''}`
}

function breakBytes (bytes: Buffer, random: SessionRandom): Buffer {
  const copy = Buffer.from(bytes)
  for (let times = 1 + random.few(4); times > 0 && copy.length > 0; times--) copy[random.below(copy.length)] = random.below(256)
  const from = random.chance(0.3) ? random.below(copy.length + 1) : 0
  return copy.subarray(from, random.chance(0.3) ? from + random.below(copy.length - from + 1) : copy.length)
}

/** A payload of a hostile or broken device, where a reading is expected. */
export function hostilePayload (random: SessionRandom, n: number, device?: string): Buffer {
  const kind = random.below(20)
  if (kind === 0) return random.bytes(random.few(500))
  if (kind === 1) return Buffer.from(toValue(random))
  const text = kind < 6 ? hostileArray(random, n, device) : hostileReading(random, n, device)
  const bytes = Buffer.from(random.chance(0.05) ? `\ufeff${text}` : text)
  return random.chance(0.15) ? breakBytes(bytes, random) : bytes
}
