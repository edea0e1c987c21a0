import t from 'tap'
import { createDeadLettersCommand } from '../../../../scripts/operate/dead-letters/options.ts'
import { parseCommand } from '../../../helpers/command-line.ts'

const ID = '0b0e7b3e-7a52-4a35-8a4b-0c7f2f1f3c11'
const NONE = { device: undefined, reason: undefined, since: undefined, until: undefined }
/** The parsed options of a command line, with the name of its subcommand. */
const parse = (...args: string[]) => parseCommand<object>((run) => createDeadLettersCommand({
  list: (options) => run({ verb: 'list', ...options }),
  show: (options) => run({ verb: 'show', ...options }),
  discard: (options) => run({ verb: 'discard', ...options }),
  resend: ({ access: { tokenFile, ca }, ...options }) => run({ verb: 'resend', ...options, access: { tokenFile, ca } })
}), args)
const NO_ACCESS = { tokenFile: undefined, ca: undefined }

t.test('commands', async (t) => {
  t.equal(await parse('--help'), null)
  t.equal(await parse('resend', '-h'), null)
  t.strictSame(await parse('list'), { verb: 'list', filter: NONE, limit: 50, asJson: false })
  t.strictSame(await parse('list', '--device', 'a', '--reason', 'invalid_json', '--since', '2025-06-18T10:00Z', '--until',
    '2025-06-18T11:00Z', '--limit', '3', '--json'), {
    verb: 'list', filter: { device: 'a', reason: 'invalid_json', since: 1_750_240_800, until: 1_750_244_400 }, limit: 3, asJson: true
  })
  t.strictSame(await parse('show', ID), { verb: 'show', id: ID, asJson: false })
  t.strictSame(await parse('discard', ID, ID.toUpperCase()), { verb: 'discard', selection: { ids: [ID] }, isConfirmed: false })
  t.strictSame(await parse('discard', '--all', '--yes'), { verb: 'discard', selection: { filter: NONE }, isConfirmed: true })
  t.strictSame(await parse('resend', '--device', 'a'), {
    verb: 'resend', selection: { filter: { ...NONE, device: 'a' } }, url: null, access: NO_ACCESS, device: null, payloadFile: null
  })
  t.strictSame(await parse('replay', ID, '--as', 'b', '--payload', 'f', '--url', 'http://h:1/', '--token-file', 't', '--ca', 'c'), {
    verb: 'resend', selection: { ids: [ID] }, url: 'http://h:1', access: { tokenFile: 't', ca: 'c' }, device: 'b', payloadFile: 'f'
  }, 'its old name')
})

t.test('wrong usage', async (t) => {
  const cases: Array<[string[], RegExp]> = [
    [
      ['lst'], /unknown command 'lst'\n\(Did you mean list\?\)/
    ], [['list', '--fast'], /unknown option '--fast'/], [['list', ID], /too many arguments/],
    [
      ['list', '--yes'], /unknown option '--yes'/
    ], [['list', '--limit', '0'], /--limit must be/], [['list', '--limit', '1.5'], /--limit must be/],
    [
      ['list', '--reason', 'over_cap'], /Allowed choices are invalid_json/
    ], [['list', '--since', '1h', '--until', '2h'], /--since must lie before/],
    [['list', '--since', 'yesterday'], /--since must be a time/],
    [['show'], /missing required argument 'id'/], [['show', ID, ID], /too many arguments/], [['show', 'x'], /"x" is not an id/],
    [['discard'], /say which: ids, filters, or --all/], [['discard', '--yes'], /say which/], [['resend'], /say which/],
    [['discard', ID, '--device', 'a'], /ids or filters, not both/], [['discard', '--all', '--device', 'a'], /--all or filters/],
    [
      ['resend', '--all', '--payload', 'f'], /--payload mends one letter/
    ], [['resend', ID, ID, '--payload', 'f'], /--payload mends one letter/],
    [['resend', ID, '--as', 'a/b'], /--as must be a device id/], [['resend', ID, '--url', 'localhost:3000'], /--url must look like/]
  ]
  for (const [args, message] of cases) await t.rejects(parse(...args), { code: 'OPERATOR_USAGE', message }, args.join(' '))
})
