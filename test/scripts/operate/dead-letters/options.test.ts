import t from 'tap'
import { parseDeadLettersOptions } from '../../../../scripts/operate/dead-letters/options.ts'
import { parseInstant } from '../../../../scripts/command-line/instant.ts'

const NOW_MS = Date.parse('2025-06-18T12:00:00Z')
const ID = '0b0e7b3e-7a52-4a35-8a4b-0c7f2f1f3c11'
const NONE = { device: undefined, reason: undefined, since: undefined, until: undefined }
const parse = (...args: string[]) => parseDeadLettersOptions(args, NOW_MS)

t.test('moments', async (t) => {
  for (const [text, iso] of [
    ['30s', '2025-06-18T11:59:30Z'], ['15m', '2025-06-18T11:45:00Z'], ['2h', '2025-06-18T10:00:00Z'], ['7d', '2025-06-11T12:00:00Z'], ['1w', '2025-06-11T12:00:00Z'],
    ['2025-06-18', '2025-06-18T00:00:00Z'], ['2025-06-18T10:30', '2025-06-18T10:30:00Z'], ['2025-06-18 10:30:01.5', '2025-06-18T10:30:01.500Z'],
    ['2025-06-18T10:30:00Z', '2025-06-18T10:30:00Z'], ['2025-06-18T10:30+02:00', '2025-06-18T08:30:00Z']
  ] as const) t.equal(parseInstant('since', text, NOW_MS), Date.parse(iso) / 1000, text)
  for (const text of ['', '2', 'h', '2 h', '1.5h', '-2h', 'yesterday', '2025', '2025-13-01', '2025-06-18T25:00', '18.06.2025', '1750240800']) {
    t.throws(() => parseInstant('since', text, NOW_MS), { code: 'OPERATOR_USAGE', message: /^--since must be a time/ }, text)
  }
})

const NO_ACCESS = { 'token-file': undefined, ca: undefined }

t.test('commands', async (t) => {
  t.equal(parse('--help'), null)
  t.equal(parse('replay', '-h'), null)
  t.strictSame(parse('list'), { verb: 'list', filter: NONE, limit: 50, asJson: false })
  t.strictSame(parse('list', '--device', 'a', '--reason', 'invalid_json', '--since', '2h', '--until', '1h', '--limit', '3', '--json'), {
    verb: 'list', filter: { device: 'a', reason: 'invalid_json', since: NOW_MS / 1000 - 7200, until: NOW_MS / 1000 - 3600 }, limit: 3, asJson: true
  })
  t.strictSame(parse('show', ID), { verb: 'show', id: ID, asJson: false })
  t.strictSame(parse('discard', ID, ID.toUpperCase()), { verb: 'discard', selection: { ids: [ID] }, isConfirmed: false })
  t.strictSame(parse('discard', '--all', '--yes'), { verb: 'discard', selection: { filter: NONE }, isConfirmed: true })
  t.strictSame(parse('replay', '--device', 'a'), {
    verb: 'replay', selection: { filter: { ...NONE, device: 'a' } }, url: null, access: NO_ACCESS, device: null, payloadFile: null
  })
  t.strictSame(parse('replay', ID, '--as', 'b', '--payload', 'f', '--url', 'http://h:1/', '--token-file', 't', '--ca', 'c'), {
    verb: 'replay', selection: { ids: [ID] }, url: 'http://h:1', access: { 'token-file': 't', ca: 'c' }, device: 'b', payloadFile: 'f'
  })
})

t.test('wrong usage', async (t) => {
  const cases: Array<[string[], RegExp]> = [
    [[], /say what to do/], [['lst'], /"lst" is not list/], [['list', '--fast'], /Unknown option '--fast'/], [['list', ID], /list takes filters/],
    [['list', '--yes'], /list knows no --yes/], [['list', '--limit', '0'], /--limit must be/], [['list', '--limit', '1e3'], /--limit must be/],
    [['list', '--reason', 'over_cap'], /--reason must be one of/], [['list', '--since', '1h', '--until', '2h'], /--since must lie before/],
    [['show'], /show takes one id/], [['show', ID, ID], /show takes one id/], [['show', 'x'], /"x" is not an id/],
    [['discard'], /say which: ids, filters, or --all/], [['discard', '--yes'], /say which/], [['replay'], /say which/],
    [['discard', ID, '--device', 'a'], /ids or filters, not both/], [['discard', '--all', '--device', 'a'], /--all or filters/],
    [['replay', '--all', '--payload', 'f'], /--payload mends one letter/], [['replay', ID, ID, '--payload', 'f'], /--payload mends one letter/],
    [['replay', ID, '--as', 'a/b'], /--as must be a device id/], [['replay', ID, '--url', 'localhost:3000'], /--url must look like/]
  ]
  for (const [args, message] of cases) t.throws(() => parse(...args), { code: 'OPERATOR_USAGE', message }, args.join(' '))
})
