import { Argument, Command, Option } from 'commander'
import type { DeadLetterFilter } from '../../../db/queries/dead-letter-filter.ts'
import { DEVICE_ID_RULE, isDeviceId } from '../../../schemas/device-id.ts'
import { REASONS } from '../../../schemas/reason.ts'
import { type AccessValues, addAccessOptions, toHttpUrl } from '../../command-line/access.ts'
import { usageError } from '../../command-line/operator-error.ts'
import { instantOption, LIST_LIMIT, numberOption } from '../../command-line/values.ts'

/** Which letters: those named, or those that match. */
export type Selection = { readonly ids: readonly string[] } | { readonly filter: DeadLetterFilter }

export interface ListOptions { readonly filter: DeadLetterFilter, readonly limit: number, readonly asJson: boolean }
export interface ShowOptions { readonly id: string, readonly asJson: boolean }
export interface DiscardOptions { readonly selection: Selection, readonly isConfirmed: boolean }
export interface ResendOptions {
  readonly selection: Selection
  /** `null`: the gateway of this environment. */
  readonly url: string | null
  readonly access: AccessValues
  readonly device: string | null
  readonly payloadFile: string | null
}

/** A function for each subcommand. */
export interface DeadLetterVerbs {
  list (options: ListOptions): Promise<void>
  show (options: ShowOptions): Promise<void>
  discard (options: DiscardOptions): Promise<void>
  resend (options: ResendOptions): Promise<void>
}

interface FilterValues {
  readonly device?: string
  readonly reason?: typeof REASONS[number]
  /** Unix seconds. */
  readonly since?: number
  readonly until?: number
  readonly all?: boolean
}

const NOTES = `
Examples:
  vital-gateway dead-letters list --device ward-3 --since 2h
  vital-gateway dead-letters show ID
  vital-gateway dead-letters resend ID --payload fixed.json
  vital-gateway dead-letters discard --reason invalid_json --until 7d --yes

A time is 2025-06-18, 2025-06-18T10:00:00Z (UTC where no zone is given), or how long ago: 30s, 15m, 2h, 7d, 1w.
PostgreSQL is the gateway's: DATABASE_URL, else VITAL_DATA_DIR/database-url; .env is read.
Exit status: 0; 1 when a letter was kept or not found, or something could not be reached; 2 for a wrong command line.`

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** `vital-gateway dead-letters`, with a function for each subcommand. */
export function createDeadLettersCommand (verbs: DeadLetterVerbs): Command {
  return new Command('dead-letters')
    .description('Shows, resends and discards payloads that a gateway refused because they were not valid readings.')
    .addHelpText('after', NOTES)
    .addCommand(createList(verbs.list))
    .addCommand(createShow(verbs.show))
    .addCommand(createResend(verbs.resend))
    .addCommand(createDiscard(verbs.discard))
}

function createList (run: DeadLetterVerbs['list']): Command {
  return addFilters(new Command('list').description('Lists them, the newest first.'))
    .addOption(numberOption('--limit <n>', 'at most this many', LIST_LIMIT).default(50))
    .option('--json', 'print JSON')
    .action(async (values: FilterValues & { limit: number, json?: boolean }) => {
      await run({ filter: toFilter(values), limit: values.limit, asJson: values.json === true })
    })
}

function createShow (run: DeadLetterVerbs['show']): Command {
  return new Command('show').description('Shows one with its payload: text where it is UTF-8, else hex.')
    .addArgument(new Argument('<id>', 'as list shows it').argParser(parseId))
    .option('--json', 'print JSON')
    .action(async (id: string, { json = false }: { json?: boolean }) => { await run({ id, asJson: json }) })
}

function createDiscard (run: DeadLetterVerbs['discard']): Command {
  return addFilters(new Command('discard').description('Deletes those named, or those that match.'))
    .addArgument(idsArgument())
    .option('--yes', 'needed where filters match more than one')
    .action(async (ids: string[], values: FilterValues & { yes?: boolean }) => {
      await run({ selection: toSelection(ids, values), isConfirmed: values.yes === true })
    })
}

function createResend (run: DeadLetterVerbs['resend']): Command {
  const command = addFilters(new Command('resend').alias('replay')
    .description('Sends those named, or those that match, to the running gateway (POST /vital-data), and removes each that it stored. ' +
      'Letters that are refused again stay, and the reason is printed.'))
    .addArgument(idsArgument())
    .option('--payload <file>', 'send the contents of the file instead, to mend one letter')
    .option('--as <device>', 'the device that the topic should have named; needed where the topic was invalid')
    .option('--url <url>', 'the gateway (default: of VITAL_HOST and VITAL_HTTP_PORT)')
  return addAccessOptions(command)
    .action(async (ids: string[], values: FilterValues & AccessValues & { payload?: string, as?: string, url?: string }) => {
      const { payload, as: device, url } = values
      if (payload !== undefined && ids.length !== 1) throw usageError('--payload mends one letter: give its id')
      if (device !== undefined && !isDeviceId(device)) throw usageError(`--as must be a device id: ${DEVICE_ID_RULE}`)
      await run({
        selection: toSelection(ids, values),
        url: url === undefined ? null : toHttpUrl(url),
        access: values,
        device: device ?? null,
        payloadFile: payload ?? null
      })
    })
}

function addFilters (command: Command): Command {
  return command
    .option('--device <id>', 'only of this device')
    .addOption(new Option('--reason <reason>', 'only for this reason').choices(REASONS))
    .addOption(instantOption('--since <time>', 'only those received since'))
    .addOption(instantOption('--until <time>', 'only those received before'))
    .option('--all', 'no filter')
}

function parseId (text: string): string {
  if (!UUID.test(text)) throw usageError(`"${text}" is not an id; list shows them`)
  return text
}

function idsArgument (): Argument {
  return new Argument('[ids...]', 'as list shows them')
    .argParser((text: string, before: string[] | undefined) => [...before ?? [], parseId(text)])
}

function toFilter ({ device, reason, since, until }: FilterValues): DeadLetterFilter {
  if (since !== undefined && until !== undefined && since >= until) throw usageError('--since must lie before --until')
  return { device, reason, since, until }
}

/** To change letters, the command line must say which: none means none, and not all. */
function toSelection (ids: readonly string[], values: FilterValues): Selection {
  const filter = toFilter(values)
  const isAll = values.all === true
  const isFiltered = Object.values(filter).some((value) => value !== undefined)
  if (ids.length > 0) {
    if (isFiltered || isAll) throw usageError('give ids or filters, not both')
    return { ids: [...new Set(ids.map((id) => id.toLowerCase()))] }
  }
  if (isFiltered && isAll) throw usageError('give --all or filters, not both')
  if (!isFiltered && !isAll) throw usageError('say which: ids, filters, or --all')
  return { filter }
}
