import { Argument, Command, Option } from 'commander'
import { isPrincipalId, PRINCIPAL_ID_RULE, type Role, ROLES } from '../../../schemas/principal.ts'
import { usageError } from '../../command-line/operator-error.ts'
import { durationOption, instantOption, LIST_LIMIT, numberOption } from '../../command-line/values.ts'

export interface AddOptions { readonly id: string, readonly role: Role }
export interface ListOptions { readonly role: Role | undefined, readonly asJson: boolean }
export interface RotateOptions { readonly id: string, readonly overlapS: number }
export interface RevokeOptions { readonly ids: readonly string[], readonly file: string | undefined }
export interface RestoreOptions { readonly id: string }
export interface ImportOptions { readonly file: string, readonly out: string, readonly isSkipping: boolean }
export interface LogOptions {
  readonly target: string | undefined
  /** Unix seconds. */
  readonly since: number | undefined
  readonly limit: number
  readonly asJson: boolean
}

/** A function for each subcommand. */
export interface CredentialVerbs {
  add (options: AddOptions): Promise<void>
  list (options: ListOptions): Promise<void>
  rotate (options: RotateOptions): Promise<void>
  revoke (options: RevokeOptions): Promise<void>
  restore (options: RestoreOptions): Promise<void>
  importFile (options: ImportOptions): Promise<void>
  exportAll (options: ListOptions): Promise<void>
  log (options: LogOptions): Promise<void>
}

const NOTES = `
Examples:
  vital-gateway credentials add ward-3 --role device > ward-3.secret
  vital-gateway credentials list --role operator
  vital-gateway credentials rotate ward-3 --overlap 24h > ward-3.secret
  vital-gateway credentials revoke ward-3
  vital-gateway credentials import devices.csv --out devices.secrets.csv

Roles:
  device       publishes on vital/{its id}, receives its rejections; nothing else
  operator     sees everything, publishes nothing
  application  reads over HTTP
  admin        everything

A secret goes to stdout alone, everything else to stderr; npm run --silent keeps npm from printing there.
With the first principal every client needs a credential.
PostgreSQL is the gateway's: DATABASE_URL, else VITAL_DATA_DIR/database-url; .env is read.
Exit status: 0; 1 when something could not be done; 2 for a wrong command line.`

/** A rotation must not take longer than a year. */
const OVERLAP = { maxS: 366 * 86_400, maxName: 'a year' }

/** `vital-gateway credentials`, with a function for each subcommand. */
export function createCredentialsCommand (verbs: CredentialVerbs): Command {
  return new Command('credentials')
    .description('Manages the clients that may use a gateway: devices, operators, applications and administrators, each with a secret.')
    .addHelpText('after', NOTES)
    .addCommand(new Command('add').description('Adds a principal and prints its secret, once. The id of a device is its device id.')
      .addArgument(new Argument('<id>').argParser(parseId))
      .addOption(new Option('--role <role>', 'what it may do').choices(ROLES).makeOptionMandatory())
      .action(async (id: string, { role }: { role: Role }) => { await verbs.add({ id, role }) }))
    .addCommand(createList('list', 'Lists all principals.', verbs.list))
    .addCommand(new Command('rotate').description('Prints a new secret; the old ones end at once, or after --overlap.')
      .addArgument(new Argument('<id>').argParser(parseId))
      .addOption(durationOption('--overlap <time>', 'how long the old secrets stay valid (24h, 7d)', OVERLAP).default(0))
      .action(async (id: string, { overlap }: { overlap: number }) => { await verbs.rotate({ id, overlapS: overlap }) }))
    .addCommand(new Command('revoke').description('Refuses principals from now on, within 3 seconds on open connections too. The id ' +
      'stays taken.')
      .addArgument(new Argument('[ids...]').argParser((text: string, before: string[] | undefined) => [...before ?? [], parseId(text)]))
      .option('--file <file>', 'further ids, one a line')
      .action(async (ids: string[], { file }: { file?: string }) => {
        if (ids.length === 0 && file === undefined) throw usageError('revoke takes one id or more, or --file')
        await verbs.revoke({ ids, file })
      }))
    .addCommand(new Command('restore').description('Takes a revocation back, and prints a new secret.')
      .addArgument(new Argument('<id>').argParser(parseId))
      .action(async (id: string) => { await verbs.restore({ id }) }))
    .addCommand(createImport(verbs.importFile))
    .addCommand(createList('export', 'Prints all principals as CSV, never a secret; JSON lines with --json.', verbs.exportAll))
    .addCommand(createLog(verbs.log))
}

function createList (name: string, description: string, run: (options: ListOptions) => Promise<void>): Command {
  return new Command(name).description(description)
    .addOption(new Option('--role <role>', 'only of this role').choices(ROLES))
    .option('--json', 'print JSON')
    .action(async (values: { role?: Role, json?: boolean }) => { await run({ role: values.role, asJson: values.json === true }) })
}

function createImport (run: CredentialVerbs['importFile']): Command {
  return new Command('import')
    .description('Adds all principals of a file, or none: CSV with a header, or JSON lines, with id, role (device), password.')
    .argument('<file>')
    .option('--out <file>', 'where secrets go, mode 0600, never over another file (default: FILE with .secrets before its end). ' +
      'A principal with a password in the file gets no secret; its password is stored as argon2id')
    .option('--skip-existing', 'leave principals that exist as they are, instead of refusing the file')
    .action(async (file: string, { out, skipExisting }: { out?: string, skipExisting?: boolean }) => {
      await run({ file, out: out ?? toOutName(file), isSkipping: skipExisting === true })
    })
}

function createLog (run: CredentialVerbs['log']): Command {
  return new Command('log').description('Lists changes of credentials with their actor, the newest first.')
    .option('--target <id>', 'only to this principal or device')
    .addOption(instantOption('--since <time>', 'only since: ISO 8601, or how long ago (2h, 7d)'))
    .addOption(numberOption('--limit <n>', 'at most this many', LIST_LIMIT).default(50))
    .option('--json', 'print JSON')
    .action(async (values: { target?: string, since?: number, limit: number, json?: boolean }) => {
      await run({ target: values.target, since: values.since, limit: values.limit, asJson: values.json === true })
    })
}

function parseId (text: string): string {
  if (!isPrincipalId(text)) throw usageError(`"${text}" cannot be an id: ${PRINCIPAL_ID_RULE}`)
  return text
}

/** `devices.csv` → `devices.secrets.csv`. */
function toOutName (file: string): string {
  return /\.[^./]+$/.test(file) ? file.replace(/(\.[^./]+)$/, '.secrets$1') : `${file}.secrets.csv`
}
