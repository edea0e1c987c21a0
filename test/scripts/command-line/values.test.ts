import t from 'tap'
import { parseDuration, parseInstant, parseList, parseNumber } from '../../../scripts/command-line/values.ts'

const NOW_MS = Date.parse('2025-06-18T12:00:00Z')
const YEAR = { maxS: 366 * 86_400, maxName: 'a year' }

t.test('numbers', async (t) => {
  t.equal(parseNumber('rate', '0.5', { min: 0, max: 1 }), 0.5)
  t.equal(parseNumber('n', '12', { min: 1, isWhole: true }), 12)
  for (const text of ['', ' ', 'x', '2', '-1', 'NaN', 'Infinity', '0.5s']) {
    t.throws(() => parseNumber('rate', text, { min: 0, max: 1 }), {
      code: 'OPERATOR_USAGE', message: /^--rate must be a number from 0 to 1, not "/
    }, text)
  }
  t.throws(() => parseNumber('n', '1.5', { min: 0, max: 2, isWhole: true }), { message: /whole number/ })
  t.throws(() => parseNumber('n', 'Infinity', { min: 0 }), { message: /^--n must be a number of at least 0/ })
})

t.test('durations', async (t) => {
  for (const [text, seconds] of [
    ['0', 0], ['90', 90], ['30m', 1800], ['24h', 86_400], ['7d', 604_800], ['1w', 604_800], ['366d', YEAR.maxS]
  ] as const) {
    t.equal(parseDuration('overlap', text, YEAR), seconds, text)
  }
  for (const text of ['', 'h', '1.5h', '-1h', '367d', '1y', '1 h']) {
    t.throws(() => parseDuration('overlap', text, YEAR), {
      code: 'OPERATOR_USAGE', message: /^--overlap must be a time such as 30m, 24h or 7d, of a year at most/
    }, text)
  }
})

t.test('instants', async (t) => {
  for (const [text, iso] of [
    [
      '30s', '2025-06-18T11:59:30Z'
    ], ['15m', '2025-06-18T11:45:00Z'], ['2h', '2025-06-18T10:00:00Z'], ['7d', '2025-06-11T12:00:00Z'], ['1w', '2025-06-11T12:00:00Z'],
    [
      '2025-06-18', '2025-06-18T00:00:00Z'
    ], ['2025-06-18T10:30', '2025-06-18T10:30:00Z'], ['2025-06-18 10:30:01.5', '2025-06-18T10:30:01.500Z'],
    ['2025-06-18T10:30:00Z', '2025-06-18T10:30:00Z'], ['2025-06-18T10:30+02:00', '2025-06-18T08:30:00Z']
  ] as const) t.equal(parseInstant('since', text, NOW_MS), Date.parse(iso) / 1000, text)
  for (const text of [
    '', '2', 'h', '2 h', '1.5h', '-2h', 'yesterday', '2025', '2025-13-01', '2025-06-18T25:00', '18.06.2025', '1750240800'
  ]) {
    t.throws(() => parseInstant('since', text, NOW_MS), { code: 'OPERATOR_USAGE', message: /^--since must be a time/ }, text)
  }
})

t.test('lists', async (t) => {
  t.strictSame(parseList('only', 'a, b,a', null), ['a', 'b'])
  t.strictSame(parseList('only', 'b', ['a', 'b']), ['b'])
  t.throws(() => parseList('only', 'c', ['a', 'b']), { code: 'OPERATOR_USAGE', message: '--only knows no "c"; it takes a, b' })
  t.throws(() => parseList('only', 'a,', null), { code: 'OPERATOR_USAGE' })
})
