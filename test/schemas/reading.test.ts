import t from 'tap'
import type { Fault } from '../../schemas/fault.ts'
import { isReading, READING_DEPTH_MAX, READING_NAMES_MAX, readingFaults } from '../../schemas/reading.ts'
import { exactly } from '../helpers/exactly.ts'

const NOW_S = 1_750_240_800

function nest (levels: number): unknown {
  let value: unknown = 1
  for (let i = 0; i < levels; i++) value = { a: value }
  return value
}

/** A reading with `count` names, including `timestamp` and `deep`. */
function named (count: number, isNested: boolean): unknown {
  const fields = Object.fromEntries(Array.from({ length: count - (isNested ? 2 : 1) }, (_, index) => [`n${index}`, index]))
  return isNested ? { timestamp: 1, deep: [fields] } : { timestamp: 1, ...fields }
}

const GOOD: readonly unknown[] = [
  { timestamp: 0 },
  { timestamp: 1735689600.123456, device: 'band-1' },
  { timestamp: NOW_S + 86_400 },
  { timestamp: 1, heartRateValue: -1.5, breathRateValue: 0, breathValue: 1e300, pulseRateValue: 1, spo2Value: 97, temperatureValue: 36.6 },
  { timestamp: 1, unknown: null, text: 'x', list: [1, [null]], deep: { a: { b: true } }, '': 1, toString: 1, hasOwnProperty: 'x' },
  { timestamp: 1, deep: nest(READING_DEPTH_MAX) },
  named(READING_NAMES_MAX, false),
  named(READING_NAMES_MAX, true),
  { timestamp: 1, wave: Array.from({ length: 20_000 }, (_, index) => index) }
]

/** Inputs, and the pointers of their faults in any order. */
const BAD: ReadonlyArray<readonly [value: unknown, paths: readonly string[]]> = [
  [null, ['']],
  [named(READING_NAMES_MAX + 1, false), ['']],
  [named(READING_NAMES_MAX + 1, true), ['/deep/0']],
  ['x', ['']],
  [5, ['']],
  [[], ['']],
  [{}, ['/timestamp']],
  [{ timestamp: '1' }, ['/timestamp']],
  [{ timestamp: null }, ['/timestamp']],
  [{ timestamp: -0.001 }, ['/timestamp']],
  [{ timestamp: NOW_S + 86_401 }, ['/timestamp']],
  [{ timestamp: NOW_S * 1000 }, ['/timestamp']],
  [{ timestamp: 1, device: 5 }, ['/device']],
  [{ timestamp: 1, device: null }, ['/device']],
  [{ timestamp: 1, device: 'a/b' }, ['/device']],
  [{ timestamp: 1, heartRateValue: null }, ['/heartRateValue']],
  [{ timestamp: 1, heartRateValue: '88' }, ['/heartRateValue']],
  [{ timestamp: 1, heartRateValue: [] }, ['/heartRateValue']],
  [JSON.parse('{"timestamp":1e999}'), ['/timestamp']],
  [JSON.parse('{"timestamp":1,"heartRateValue":1e999}'), ['/heartRateValue']],
  [JSON.parse('{"timestamp":1,"unknown":-1e999}'), ['/unknown']],
  [JSON.parse('{"timestamp":1,"a/b":{"c~d":[1e999]}}'), ['/a~1b/c~0d/0']],
  [JSON.parse('{"timestamp":1,"__proto__":1}'), ['/__proto__']],
  [JSON.parse('{"timestamp":1,"constructor":1}'), ['/constructor']],
  [JSON.parse('{"timestamp":1,"a":[{"prototype":1}]}'), ['/a/0/prototype']],
  [{ timestamp: 1, deep: nest(READING_DEPTH_MAX + 1) }, ['/deep' + '/a'.repeat(READING_DEPTH_MAX)]],
  [{ timestamp: 'x', heartRateValue: 'y', spo2Value: null, device: '' }, ['/device', '/heartRateValue', '/spo2Value', '/timestamp']]
]

const pathsOf = (faults: readonly Fault[]) => [...new Set(faults.map((fault) => fault.path))].sort()

t.test('both checks accept the same valid readings', async (t) => {
  for (const value of GOOD) {
    t.equal(isReading(value, NOW_S), true, JSON.stringify(value))
    t.strictSame(readingFaults(value, NOW_S), [], JSON.stringify(value))
  }
})

t.test('both checks refuse the same invalid readings, and every fault is named', async (t) => {
  for (const [value, paths] of BAD) {
    t.equal(isReading(value, NOW_S), false, JSON.stringify(value))
    t.strictSame(pathsOf(readingFaults(value, NOW_S)), paths, JSON.stringify(value))
    t.strictSame(pathsOf(readingFaults(value, NOW_S, '/3')), paths.map((path) => `/3${path}`))
  }
})

t.test('milliseconds are told apart from other late timestamps', async (t) => {
  t.match(readingFaults({ timestamp: NOW_S * 1000 }, NOW_S), exactly({ message: /milliseconds/ }))
  t.match(readingFaults({ timestamp: 1_262_304_000_000 }, NOW_S), exactly({ message: /milliseconds/ }))
  for (const timestamp of [NOW_S + 90_000, 1e300]) {
    const faults = readingFaults({ timestamp }, NOW_S)
    t.equal(faults.length, 1)
    t.notMatch(faults[0]?.message, /milliseconds/)
  }
})

const KNOWN = ['timestamp', 'device', 'heartRateValue', 'breathRateValue', 'breathValue', 'pulseRateValue', 'bloodPressureSystolic',
  'bloodPressureDiastolic', 'spo2Value', 'temperatureValue']

t.test('all ten known fields can be wrong at once', async (t) => {
  const value = Object.fromEntries(KNOWN.map((name) => [name, true]))
  t.strictSame(pathsOf(readingFaults(value, NOW_S)), KNOWN.map((name) => `/${name}`).sort())
})

t.test('the list of faults of a hostile reading is bounded', async (t) => {
  const value: Record<string, unknown> = { timestamp: 1 }
  for (let i = 0; i < 1000; i++) value[`k${i}`] = Infinity
  t.equal(readingFaults(value, NOW_S).length, 100)
})
