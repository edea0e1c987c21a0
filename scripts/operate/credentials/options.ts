import { isPrincipalId, isRole, PRINCIPAL_ID_RULE, type Role, ROLES } from '../../../schemas/principal.ts'
import { OperatorError, parseArguments } from '../../command-line/command.ts'
import { parseInstant } from '../../command-line/instant.ts'
import { toPrintable } from '../../command-line/printable.ts'

/** What `npm run credentials -- --help` prints. */
export const CREDENTIALS_HELP = `Says who may use a gateway: devices, operators, applications and administrators, each with a secret.

  npm run --silent credentials -- add ward-3 --role device > ward-3.secret
  npm run credentials -- list --role operator
  npm run --silent credentials -- rotate ward-3 --overlap 24h > ward-3.secret
  npm run credentials -- revoke ward-3
  npm run credentials -- import devices.csv --out devices.secrets.csv

  add ID --role ROLE    a new principal; prints its secret, once. A device's id is its device id
  list                  who there is; --role ROLE, --json
  rotate ID             a new secret; the old ones end at once, or with --overlap TIME (24h, 7d) after that time
  revoke ID...          refused from now on, connections included (within 3 seconds); the id stays taken
    --file FILE         the ids, one a line
  restore ID            takes a revocation back, with a new secret
  import FILE           adds all of a file, or none. CSV with a header, or JSON lines: id, role (device), password
    --out FILE          where the secrets go (FILE with .secrets before its end); mode 0600, never over another file.
                        Who has a password of somebody's choosing gets no secret; it is stored as argon2id
    --skip-existing     leaves those that exist as they are, instead of refusing the file
  export                all principals as CSV, never a secret; --role ROLE, --json for JSON lines
  log                   who did what, the newest first; --target ID, --since TIME, --limit N (50), --json

  ROLE    device       publishes on vital/{its id}, hears its rejections; nothing else
          operator     sees everything, publishes nothing
          application  reads over HTTP
          admin        everything
  Secrets go to stdout alone, everything else to stderr; --silent keeps npm from printing there.
  With the first principal the gateway lets nobody in without a credential any more.

  PostgreSQL is the gateway's: DATABASE_URL, else VITAL_DATA_DIR/database-url; .env is read.
  Exit status: 0; 1 when something could not be done; 2 for wrong usage.`

export type CredentialsCommand =
  | { readonly verb: 'add', readonly id: string, readonly role: Role }
  | { readonly verb: 'list' | 'export', readonly role: Role | undefined, readonly asJson: boolean }
  | { readonly verb: 'rotate', readonly id: string, readonly overlapS: number }
  | { readonly verb: 'revoke', readonly ids: readonly string[], readonly file: string | undefined }
  | { readonly verb: 'restore', readonly id: string }
  | { readonly verb: 'import', readonly file: string, readonly out: string, readonly isSkipping: boolean }
  | { readonly verb: 'log', readonly target: string | undefined, readonly since: number | undefined, readonly limit: number, readonly asJson: boolean }

type Verb = CredentialsCommand['verb']

const OPTIONS_OF_VERB: Readonly<Record<Verb, readonly string[]>> = {
  add: ['role'],
  list: ['role', 'json'],
  rotate: ['overlap'],
  revoke: ['file'],
  restore: [],
  import: ['out', 'skip-existing'],
  export: ['role', 'json'],
  log: ['target', 'since', 'limit', 'json']
}

const LIMIT_MAX = 100_000
const UNITS_S: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 }
/** A rotation that takes longer than a year is none. */
const OVERLAP_MAX_S = 366 * 86_400

/**
 * Reads the command line of `credentials`.
 * @param nowMs - Unix milliseconds, for times told as how long ago
 * @returns `null` when help was asked for
 * @throws `OPERATOR_USAGE`
 */
export function parseCredentialsOptions (args: readonly string[], nowMs: number): CredentialsCommand | null {
  const { values, positionals: [verb, ...operands] } = parseArguments({
    args: [...args],
    allowPositionals: true,
    options: {
      role: { type: 'string' },
      json: { type: 'boolean' },
      overlap: { type: 'string' },
      out: { type: 'string' },
      'skip-existing': { type: 'boolean' },
      file: { type: 'string' },
      target: { type: 'string' },
      since: { type: 'string' },
      limit: { type: 'string' },
      help: { type: 'boolean', short: 'h' }
    }
  })
  if (values.help === true) return null
  const verbs = Object.keys(OPTIONS_OF_VERB)
  if (verb === undefined || !isVerb(verb)) {
    throw usage(verb === undefined ? `say what to do: ${verbs.join(', ')}` : `"${toPrintable(verb)}" is not one of ${verbs.join(', ')}`)
  }
  for (const name of Object.keys(values)) {
    if (!OPTIONS_OF_VERB[verb].includes(name)) throw usage(`${verb} knows no --${name}`)
  }
  switch (verb) {
    case 'add':
      if (values.role === undefined) throw usage(`say which role: --role ${ROLES.join('|')}`)
      return { verb, id: toOnlyId(verb, operands), role: toRole(values.role) }
    case 'rotate':
      return { verb, id: toOnlyId(verb, operands), overlapS: toOverlapS(values.overlap ?? '0') }
    case 'restore':
      return { verb, id: toOnlyId(verb, operands) }
    case 'revoke':
      if (operands.length === 0 && values.file === undefined) throw usage('revoke takes one id or more, or --file')
      return { verb, ids: operands.map(toId), file: values.file }
    case 'import': {
      const [file] = operands
      if (file === undefined || operands.length > 1) throw usage('import takes one file')
      return { verb, file, out: values.out ?? toOutName(file), isSkipping: values['skip-existing'] === true }
    }
    case 'list':
    case 'export':
      if (operands.length > 0) throw usage(`${verb} takes no id; --role filters`)
      return { verb, role: values.role === undefined ? undefined : toRole(values.role), asJson: values.json === true }
    case 'log':
      if (operands.length > 0) throw usage('log takes no id; --target filters')
      return {
        verb,
        target: values.target,
        since: values.since === undefined ? undefined : parseInstant('since', values.since, nowMs),
        limit: toLimit(values.limit ?? '50'),
        asJson: values.json === true
      }
  }
}

function isVerb (text: string): text is Verb {
  return Object.hasOwn(OPTIONS_OF_VERB, text)
}

function toOnlyId (verb: Verb, operands: readonly string[]): string {
  const [id] = operands
  if (id === undefined || operands.length > 1) throw usage(`${verb} takes one id`)
  return toId(id)
}

function toId (text: string): string {
  if (!isPrincipalId(text)) throw usage(`"${toPrintable(text)}" cannot be an id: ${PRINCIPAL_ID_RULE}`)
  return text
}

function toRole (text: string): Role {
  if (!isRole(text)) throw usage(`--role must be one of ${ROLES.join(', ')}, not "${toPrintable(text)}"`)
  return text
}

function toOverlapS (text: string): number {
  const [, count, unit = 's'] = /^(\d{1,9})([smhdw])?$/.exec(text) ?? []
  const overlapS = Number(count) * (UNITS_S[unit] ?? NaN)
  if (!(overlapS <= OVERLAP_MAX_S)) throw usage(`--overlap must be a time such as 30m, 24h or 7d, of a year at most, not "${toPrintable(text)}"`)
  return overlapS
}

function toLimit (text: string): number {
  const limit = /^\d{1,6}$/.test(text) ? Number(text) : 0
  if (limit < 1 || limit > LIMIT_MAX) throw usage(`--limit must be a whole number from 1 to ${LIMIT_MAX}, not "${toPrintable(text)}"`)
  return limit
}

/** `devices.csv` → `devices.secrets.csv`. */
function toOutName (file: string): string {
  return /\.[^./]+$/.test(file) ? file.replace(/(\.[^./]+)$/, '.secrets$1') : `${file}.secrets.csv`
}

function usage (message: string): OperatorError {
  return new OperatorError('OPERATOR_USAGE', message)
}
