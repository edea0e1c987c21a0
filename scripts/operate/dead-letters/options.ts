import type { DeadLetterFilter } from '../../../db/queries/dead-letter-filter.ts'
import { DEVICE_ID_RULE, isDeviceId } from '../../../schemas/device-id.ts'
import { REASONS } from '../../../schemas/reason.ts'
import { ACCESS_ARGUMENTS, ACCESS_HELP, toHttpUrl } from '../../command-line/access.ts'
import { OperatorError, parseArguments } from '../../command-line/command.ts'
import { parseInstant } from '../../command-line/instant.ts'

/** What `npm run dead-letters -- --help` prints. */
export const DEAD_LETTERS_HELP = `Looks at, replays and discards what a gateway refused: payloads that were no valid readings.

  npm run dead-letters -- list --device ward-3 --since 2h
  npm run dead-letters -- show ID
  npm run dead-letters -- replay ID --payload fixed.json
  npm run dead-letters -- discard --reason invalid_json --until 7d --yes

  list              the newest first; filters, --limit N (50), --json
  show ID           one, with its payload: text where it is UTF-8, else hex; --json
  replay ID...      sends them to the running gateway (POST /vital-data), as if they came anew, and removes each that it
                    answered 202: stored. What is refused again stays, with the reason told. Filters instead of IDs: all that match
    --payload FILE  sends the contents of FILE instead, to mend one letter
    --as DEVICE     the device that the topic should have named; needed where the topic was invalid
    --url URL       the gateway (http://127.0.0.1:3000, or what VITAL_HOST and VITAL_HTTP_PORT say)
${ACCESS_HELP.replaceAll(/^/gm, '  ')}
  discard ID...     deletes them. Filters instead of IDs; where they match more than one, only with --yes

  Filters: --device DEVICE, --reason REASON, --since TIME, --until TIME; --all for all.
  TIME is 2025-06-18, 2025-06-18T10:00:00Z (UTC where no zone is given), or how long ago: 30s, 15m, 2h, 7d, 1w.
  REASON is ${REASONS.join(', ')}.

  PostgreSQL is the gateway's: DATABASE_URL, else VITAL_DATA_DIR/database-url; .env is read.
  Exit status: 0; 1 when a letter was kept or not found, or something could not be reached; 2 for wrong usage.`

/** Which letters: those named, or those that match. */
export type Selection = { readonly ids: readonly string[] } | { readonly filter: DeadLetterFilter }

export type DeadLettersCommand =
  | { readonly verb: 'list', readonly filter: DeadLetterFilter, readonly limit: number, readonly asJson: boolean }
  | { readonly verb: 'show', readonly id: string, readonly asJson: boolean }
  | { readonly verb: 'discard', readonly selection: Selection, readonly isConfirmed: boolean }
  | {
    readonly verb: 'replay'
    readonly selection: Selection
    readonly url: string | null
    readonly access: { readonly 'token-file': string | undefined, readonly ca: string | undefined }
    readonly device: string | null
    readonly payloadFile: string | null
  }

const FILTERS = ['device', 'reason', 'since', 'until', 'all'] as const

const OPTIONS_OF_VERB = {
  list: [...FILTERS, 'limit', 'json'],
  show: ['json'],
  discard: [...FILTERS, 'yes'],
  replay: [...FILTERS, 'url', 'as', 'payload', 'token-file', 'ca']
} as const

const LIMIT_MAX = 100_000
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/**
 * Reads the command line of `dead-letters`.
 * @param nowMs - Unix milliseconds, for times told as how long ago
 * @returns `null` when help was asked for
 * @throws `OPERATOR_USAGE`
 */
export function parseDeadLettersOptions (args: readonly string[], nowMs: number): DeadLettersCommand | null {
  const { values, positionals: [verb, ...ids] } = parseArguments({
    args: [...args],
    allowPositionals: true,
    options: {
      device: { type: 'string' },
      reason: { type: 'string' },
      since: { type: 'string' },
      until: { type: 'string' },
      all: { type: 'boolean' },
      limit: { type: 'string' },
      json: { type: 'boolean' },
      yes: { type: 'boolean' },
      url: { type: 'string' },
      ...ACCESS_ARGUMENTS,
      as: { type: 'string' },
      payload: { type: 'string' },
      help: { type: 'boolean', short: 'h' }
    }
  })
  if (values.help === true) return null
  if (verb !== 'list' && verb !== 'show' && verb !== 'discard' && verb !== 'replay') {
    throw usage(verb === undefined ? 'say what to do: list, show, replay or discard' : `"${verb}" is not list, show, replay or discard`)
  }
  for (const name of Object.keys(values)) {
    if (!(OPTIONS_OF_VERB[verb] as readonly string[]).includes(name)) throw usage(`${verb} knows no --${name}`)
  }
  for (const id of ids) {
    if (!UUID.test(id)) throw usage(`"${id}" is not an id; list shows them`)
  }
  const filter = toFilter(values, nowMs)
  switch (verb) {
    case 'list':
      if (ids.length > 0) throw usage('list takes filters; show takes an id')
      return { verb, filter, limit: toLimit(values.limit ?? '50'), asJson: values.json === true }
    case 'show': {
      const [id] = ids
      if (id === undefined || ids.length > 1) throw usage('show takes one id')
      return { verb, id, asJson: values.json === true }
    }
    case 'discard':
      return { verb, selection: toSelection(ids, filter, values.all === true), isConfirmed: values.yes === true }
    case 'replay':
      if (values.payload !== undefined && ids.length !== 1) throw usage('--payload mends one letter: give its id')
      if (values.as !== undefined && !isDeviceId(values.as)) throw usage(`--as must be a device id: ${DEVICE_ID_RULE}`)
      return {
        verb,
        selection: toSelection(ids, filter, values.all === true),
        url: values.url === undefined ? null : toHttpUrl(values.url),
        access: { 'token-file': values['token-file'], ca: values.ca },
        device: values.as ?? null,
        payloadFile: values.payload ?? null
      }
  }
}

function toFilter ({ device, reason, since, until }: { [name in 'device' | 'reason' | 'since' | 'until']?: string | undefined }, nowMs: number): DeadLetterFilter {
  if (reason !== undefined && !(REASONS as readonly string[]).includes(reason)) throw usage(`--reason must be one of ${REASONS.join(', ')}`)
  const sinceS = since === undefined ? undefined : parseInstant('since', since, nowMs)
  const untilS = until === undefined ? undefined : parseInstant('until', until, nowMs)
  if (sinceS !== undefined && untilS !== undefined && sinceS >= untilS) throw usage('--since must lie before --until')
  return { device, reason, since: sinceS, until: untilS }
}

/** To change letters, somebody must have said which: an empty command line means none, not all. */
function toSelection (ids: readonly string[], filter: DeadLetterFilter, isAll: boolean): Selection {
  const isFiltered = Object.values(filter).some((value) => value !== undefined)
  if (ids.length > 0) {
    if (isFiltered || isAll) throw usage('give ids or filters, not both')
    return { ids: [...new Set(ids.map((id) => id.toLowerCase()))] }
  }
  if (isFiltered && isAll) throw usage('give --all or filters, not both')
  if (!isFiltered && !isAll) throw usage('say which: ids, filters, or --all')
  return { filter }
}

function toLimit (text: string): number {
  const limit = /^\d{1,6}$/.test(text) ? Number(text) : 0
  if (limit < 1 || limit > LIMIT_MAX) throw usage(`--limit must be a whole number from 1 to ${LIMIT_MAX}, not "${text}"`)
  return limit
}

function usage (message: string): OperatorError {
  return new OperatorError('OPERATOR_USAGE', message)
}
