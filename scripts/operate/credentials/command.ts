import type { Command } from 'commander'
import type { Kysely } from 'kysely'
import { appendAuditLog } from '../../../db/queries/append-audit-log.ts'
import { findPrincipals } from '../../../db/queries/find-principals.ts'
import { insertPrincipals } from '../../../db/queries/insert-principals.ts'
import type { StoredPrincipal } from '../../../db/queries/principal-columns.ts'
import { readPrincipalState } from '../../../db/queries/read-principal-state.ts'
import { restorePrincipal } from '../../../db/queries/restore-principal.ts'
import { rotateSecret } from '../../../db/queries/rotate-secret.ts'
import { selectAuditLog } from '../../../db/queries/select-audit-log.ts'
import { selectPrincipals } from '../../../db/queries/select-principals.ts'
import type { Tables } from '../../../db/tables.ts'
import type { Role } from '../../../schemas/principal.ts'
import { digestOf, generateSecret, toDigestBytes } from '../../../src/security/secrets.ts'
import { toActor } from '../../command-line/actor.ts'
import { withDatabase } from '../../command-line/database.ts'
import { OperatorError } from '../../command-line/operator-error.ts'
import { toPrintable, toPrintableJson } from '../../command-line/printable.ts'
import { formatRecords } from '../../command-line/records.ts'
import type { CommandSurroundings, Print, ProgressStream } from '../../command-line/surroundings.ts'
import { importPrincipals } from './import.ts'
import {
  type AddOptions, createCredentialsCommand, type ImportOptions, type ListOptions, type LogOptions, type RestoreOptions, type RevokeOptions,
  type RotateOptions
} from './options.ts'
import { revoke, toMissingText } from './revoke.ts'
import { EXPORT_COLUMNS, type ShownPrincipal, toActLines, toExportRow, toPrincipalLines, toShown } from './show.ts'

const STATEMENT_TIMEOUT_MS = 60_000
/** Principals read at a time. */
const PAGE = 1000

interface Context {
  readonly kysely: Kysely<Tables>
  readonly print: Print
  readonly tell: Print
  readonly progress: ProgressStream
}

/** `vital-gateway credentials`. */
export function createCommand ({ print, tell, progress, readConfig, finish }: CommandSurroundings): Command {
  const toVerb = <T>(work: (context: Context, options: T) => Promise<number>, isPreparing = false) => async (options: T) => {
    const database = { config: readConfig(), name: 'credentials', statementTimeoutMs: STATEMENT_TIMEOUT_MS, isPreparing }
    finish(await withDatabase(database, ({ kysely }) => work({ kysely, print, tell, progress }, options)))
  }
  return createCredentialsCommand({
    // These make missing tables, so that a gateway need not be open to every client before its first credential.
    add: toVerb(add, true),
    importFile: toVerb(importFile, true),
    list: toVerb(list),
    rotate: toVerb(rotate),
    restore: toVerb(restore),
    revoke: toVerb((context, options: RevokeOptions) => revoke({ ...context, actor: toActor(), ...options })),
    exportAll: toVerb(exportAll),
    log: toVerb(log)
  })
}

async function add ({ kysely, print, tell }: Context, { id, role }: AddOptions): Promise<number> {
  const { isEmpty } = await readPrincipalState(kysely)
  const secret = generateSecret()
  await kysely.transaction().execute(async (transaction) => {
    const added = await insertPrincipals(transaction, [{ id, role, secretSha256: toStored(secret) }])
    if (added.length === 0) {
      const [existing] = await findPrincipals(transaction, [id])
      throw new OperatorError('OPERATOR_FAILED', `${toPrintable(id)} exists already${toWhat(existing)}`)
    }
    await appendAuditLog(transaction, { actor: toActor(), act: 'credentials.add', target: id, details: { role } })
  })
  tell(`added ${toPrintable(id)} as ${role}; its secret is on stdout and is shown once`)
  if (isEmpty) tellFirst(tell)
  print(secret)
  return 0
}

async function rotate ({ kysely, print, tell }: Context, { id, overlapS }: RotateOptions): Promise<number> {
  const secret = generateSecret()
  await kysely.transaction().execute(async (transaction) => {
    if (!await rotateSecret(transaction, { id, secretSha256: toStored(secret), graceS: overlapS })) throw await toMissing(transaction, id)
    await appendAuditLog(transaction, { actor: toActor(), act: 'credentials.rotate', target: id, details: { overlapS } })
  })
  tell(`${toPrintable(id)} has a new secret, on stdout; the old one ` +
    `${overlapS === 0 ? 'is refused from now on' : `is good for ${overlapS} s more`}`)
  print(secret)
  return 0
}

async function restore ({ kysely, print, tell }: Context, { id }: RestoreOptions): Promise<number> {
  const secret = generateSecret()
  await kysely.transaction().execute(async (transaction) => {
    if (!await restorePrincipal(transaction, { id, secretSha256: toStored(secret) })) {
      const [existing] = await findPrincipals(transaction, [id])
      throw existing === undefined
        ? await toMissing(transaction, id)
        : new OperatorError('OPERATOR_FAILED',
        `${toPrintable(id)} is not revoked; rotate gives it a new secret`)
    }
    await appendAuditLog(transaction, { actor: toActor(), act: 'credentials.restore', target: id })
  })
  tell(`${toPrintable(id)} is accepted again, with a new secret, on stdout`)
  print(secret)
  return 0
}

async function importFile ({ kysely, tell, progress }: Context, { file, out, isSkipping }: ImportOptions): Promise<number> {
  const { isEmpty } = await readPrincipalState(kysely)
  const { added, existing } = await importPrincipals({ kysely, file, out, isSkipping, actor: toActor(), tell, progress })
  tell(`imported ${added}${existing > 0 ? `; ${existing} existed and were left as they are` : ''}`)
  if (isEmpty && added > 0) tellFirst(tell)
  return 0
}

async function list ({ kysely, print }: Context, { role, asJson }: ListOptions): Promise<number> {
  const principals: ShownPrincipal[] = []
  for await (const page of pagesOf(kysely, role)) principals.push(...page)
  if (asJson) print(toPrintableJson(principals))
  else if (principals.length === 0 && role !== undefined) print(`no principal is ${role}`)
  else print(toPrincipalLines(principals, Date.now() / 1000).join('\n'))
  return 0
}

async function exportAll ({ kysely, print }: Context, { role, asJson }: ListOptions): Promise<number> {
  if (!asJson) print(EXPORT_COLUMNS.join(','))
  for await (const page of pagesOf(kysely, role)) {
    const text = formatRecords(page.map((principal) => toExportRow(principal, Date.now() / 1000)), {
      columns: EXPORT_COLUMNS, isJsonLines: asJson
    })
    const lines = text.trimEnd().split('\n')
    print(lines.slice(asJson ? 0 : 1).join('\n'))
  }
  return 0
}

async function log ({ kysely, print }: Context, { target, since, limit, asJson }: LogOptions): Promise<number> {
  const acts = await selectAuditLog(kysely, { count: limit, target, since })
  print(asJson ? toPrintableJson(acts) : toActLines(acts).join('\n'))
  return 0
}

async function * pagesOf (kysely: Kysely<Tables>, role: Role | undefined): AsyncGenerator<ShownPrincipal[]> {
  for (let after = ''; ;) {
    const page = await selectPrincipals(kysely, { count: PAGE, after, role })
    const last = page.at(-1)
    if (last === undefined) return
    yield page.map(toShown)
    after = last.id
  }
}

async function toMissing (kysely: Kysely<Tables>, id: string): Promise<OperatorError> {
  const [existing] = await findPrincipals(kysely, [id])
  return new OperatorError('OPERATOR_FAILED', toMissingText(id, existing !== undefined))
}

function toWhat (existing: StoredPrincipal | undefined): string {
  if (existing === undefined) return ''
  return existing.revokedAt === null
    ? `, as ${existing.role}; rotate gives it a new secret`
    : ', and is revoked; restore accepts it again'
}

function tellFirst (tell: Print): void {
  tell('This is the first: from now on every client needs a credential, over MQTT and HTTP.')
}

function toStored (secret: string): Buffer {
  return toDigestBytes(digestOf(secret))
}
