/**
 * `credentials import`: all of a file or none of it. Passwords are hashed and the file of secrets is written first, so that
 * the transaction is short, and no principal is stored whose secret was not written.
 */
import { readFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { basename } from 'node:path'
import type { Kysely } from 'kysely'
import { isServerError } from '../../../db/sqlstate.ts'
import { appendAuditLog } from '../../../db/queries/append-audit-log.ts'
import { findPrincipals } from '../../../db/queries/find-principals.ts'
import { insertPrincipals, type NewPrincipal } from '../../../db/queries/insert-principals.ts'
import type { Tables } from '../../../db/tables.ts'
import { isPrincipalId, isRole, PRINCIPAL_ID_RULE, type Role, ROLES } from '../../../schemas/principal.ts'
import { SECURITY_LIMITS } from '../../../src/security/limits.ts'
import { hashPassword } from '../../../src/security/passwords.ts'
import { digestOf, generateSecret, isSecret, toDigestBytes } from '../../../src/security/secrets.ts'
import { isToken } from '../../../src/security/tokens.ts'
import { OperatorError, usageError } from '../../command-line/operator-error.ts'
import { assertNoFile, writePrivateFile } from '../../command-line/private-file.ts'
import { toPrintable } from '../../command-line/printable.ts'
import { createProgress } from '../../command-line/progress.ts'
import type { Print, ProgressStream } from '../../command-line/surroundings.ts'
import { type FileRecord, formatRecords, isJsonLinesName, parseRecords } from '../../command-line/records.ts'

/** Principals in one statement. */
const CHUNK = 1000
/** Faults that are printed; a file that is wrong throughout must not fill the terminal. */
const FAULTS_TOLD_MAX = 10
/** NIST SP 800-63B §3.1.1.2 asks for 8 at least. */
const PASSWORD_CHARACTERS_MIN = 8

/** A line of the file, checked. */
interface Entry {
  readonly id: string
  readonly role: Role
  readonly password: string | null
}

export interface ImportOptions {
  readonly kysely: Kysely<Tables>
  readonly file: string
  /** The file for generated secrets. */
  readonly out: string
  /** Leaves principals that exist as they are, instead of refusing the file. */
  readonly isSkipping: boolean
  readonly actor: string
  readonly tell: Print
  readonly progress: ProgressStream
}

/**
 * Adds the principals of a file, and writes the secrets of those that brought no password to another.
 * @returns how many were added, and how many existed
 * @throws `OPERATOR_USAGE` for a file with faults, `OPERATOR_FAILED`; then none was added
 */
export async function importPrincipals (options: ImportOptions): Promise<{ added: number, existing: number }> {
  const { kysely, file, out, isSkipping, tell } = options
  const entries = toEntries(parseRecords(await read(file), { file, columns: ['id', 'role', 'password'] }), file)
  if (entries.some(({ password }) => password === null)) await assertNoFile(out)
  const existing = await findExisting(kysely, entries)
  if (existing.size > 0 && !isSkipping) {
    throw new OperatorError('OPERATOR_FAILED', `${existing.size} of ${entries.length} exist already, so nothing was imported: ` +
      `${toSome([...existing])}.\n` +
      'Add --skip-existing to import the others.')
  }
  const fresh = entries.filter(({ id }) => !existing.has(id))
  const secrets = new Map(fresh.filter(({ password }) => password === null).map(({ id }) => [id, generateSecret()]))
  const principals = await arm(fresh, secrets, options.progress)
  const remove = secrets.size === 0
    ? async () => {}
    : await writePrivateFile(out, formatRecords(
      fresh.filter(({ id }) => secrets.has(id)).map(({ id, role }) => [id, role, secrets.get(id)!]),
      { columns: ['id', 'role', 'secret'], isJsonLines: isJsonLinesName(out) }))
  try {
    await insert(options, principals, secrets.size)
  } catch (error) {
    // Without an answer to COMMIT they may be stored after all, and the file is the only place that has their secrets.
    if (isServerError(error) || error instanceof OperatorError) await remove()
    else if (secrets.size > 0) tell(`${out} was kept: PostgreSQL may have stored its principals; list shows them.`)
    throw error
  }
  tell(secrets.size === 0
    ? 'no secret was needed, so no file was written'
    : `the secrets of ${secrets.size} are in ${out}, which only you may read`)
  return { added: fresh.length, existing: existing.size }
}

async function insert (
  { kysely, file, actor, progress: stream }: ImportOptions, principals: readonly NewPrincipal[], secrets: number
): Promise<void> {
  const progress = createProgress({ label: 'storing', total: principals.length, stream })
  try {
    await kysely.transaction().execute(async (transaction) => {
      for (let at = 0; at < principals.length; at += CHUNK) {
        const chunk = principals.slice(at, at + CHUNK)
        const added = await insertPrincipals(transaction, chunk)
        if (added.length < chunk.length) {
          throw new OperatorError('OPERATOR_FAILED',
            'some of them were added meanwhile, so nothing was imported: try again')
        }
        progress.update(at + chunk.length)
      }
      if (principals.length === 0) return
      await appendAuditLog(transaction, {
        actor,
        act: 'credentials.import',
        details: {
          file: basename(file), added: principals.length, secrets, passwords: principals.length - secrets
        }
      })
    })
  } finally {
    progress.stop()
  }
}

async function read (file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    throw usageError(`${file} cannot be read: ${(cause as Error).message}`, { cause })
  }
}

function toEntries (records: readonly FileRecord[], file: string): Entry[] {
  const faults: string[] = []
  const lineOf = new Map<string, number>()
  const entries: Entry[] = []
  for (const { line, values } of records) {
    const { id = '', role = 'device', password = null } = values as { id?: string, role?: string, password?: string }
    const why = toFault({ id, role, password }) ?? (lineOf.has(id) ? `"${toPrintable(id)}" stands on line ${lineOf.get(id)} already` : null)
    if (why !== null) faults.push(`line ${line}: ${why}`)
    else if (isRole(role)) entries.push({ id, role, password })
    lineOf.set(id, line)
  }
  if (faults.length > 0) throw usageError(`${file} was not imported:\n${toSome(faults, '\n')}`)
  if (entries.length === 0) throw usageError(`${file} names no principal`)
  return entries
}

function toFault ({ id, role, password }: { id: string, role: string, password: string | null }): string | null {
  if (id === '') return 'there is no id'
  if (!isPrincipalId(id)) return `"${toPrintable(id)}" cannot be an id: ${PRINCIPAL_ID_RULE}`
  if (!isRole(role)) return `"${toPrintable(role)}" is not a role: ${ROLES.join(', ')}`
  if (password === null) return null
  if ([...password].length < PASSWORD_CHARACTERS_MIN) {
    return `the password of "${toPrintable(id)}" is shorter than ${PASSWORD_CHARACTERS_MIN} characters; leave it out for a generated secret`
  }
  if (Buffer.byteLength(password) > SECURITY_LIMITS.passwordBytesMax) {
    return `the password of "${toPrintable(id)}" is longer than ${SECURITY_LIMITS.passwordBytesMax} bytes`
  }
  if (isSecret(password) || isToken(password)) {
    return `the password of "${toPrintable(id)}" has the form of a generated secret or of a token, and would be checked as one`
  }
  return null
}

async function findExisting (kysely: Kysely<Tables>, entries: readonly Entry[]): Promise<Set<string>> {
  const existing = new Set<string>()
  for (let at = 0; at < entries.length; at += CHUNK) {
    for (const { id } of await findPrincipals(kysely, entries.slice(at, at + CHUNK).map(({ id }) => id))) existing.add(id)
  }
  return existing
}

/** Gives each principal its credential. Hashing one password takes some 20 ms of CPU, on purpose. */
async function arm (entries: readonly Entry[], secrets: ReadonlyMap<string, string>, stream: ProgressStream): Promise<NewPrincipal[]> {
  const passwords = entries.filter(({ id }) => !secrets.has(id))
  const hashes = new Map<string, string>()
  const progress = createProgress({ label: 'hashing passwords', total: passwords.length, stream })
  const queue = passwords.values()
  await Promise.all(Array.from({ length: Math.min(passwords.length, availableParallelism()) }, async () => {
    for (const { id, password } of queue) {
      hashes.set(id, await hashPassword(password!))
      progress.update(hashes.size)
    }
  })).finally(() => { progress.stop() })
  return entries.map(({ id, role }) => {
    const secret = secrets.get(id)
    return secret === undefined
      ? { id, role, passwordArgon2id: hashes.get(id) }
      : { id, role, secretSha256: toDigestBytes(digestOf(secret)) }
  })
}

function toSome (texts: readonly string[], separator = ', '): string {
  const more = texts.length - FAULTS_TOLD_MAX
  return [...texts.slice(0, FAULTS_TOLD_MAX).map((text) => separator === '\n' ? text : toPrintable(text)), ...(more > 0
    ? [`and ${more} more`]
    : [])].join(separator)
}
