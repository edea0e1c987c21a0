import { readFile } from 'node:fs/promises'
import type { Kysely } from 'kysely'
import { appendAuditLogOfMany } from '../../../db/queries/append-audit-log.ts'
import { findPrincipals } from '../../../db/queries/find-principals.ts'
import { revokePrincipals } from '../../../db/queries/revoke-principals.ts'
import type { Tables } from '../../../db/tables.ts'
import { isPrincipalId, PRINCIPAL_ID_RULE } from '../../../schemas/principal.ts'
import { usageError } from '../../command-line/operator-error.ts'
import { toPrintable } from '../../command-line/printable.ts'
import { createProgress } from '../../command-line/progress.ts'
import type { Print, ProgressStream } from '../../command-line/surroundings.ts'

/** Ids in one statement; progress is shown after each. */
const CHUNK = 5000
/** Ids that are printed one by one. */
const TOLD_MAX = 50

interface Request {
  readonly kysely: Kysely<Tables>
  readonly tell: Print
  readonly progress: ProgressStream
  readonly actor: string
  readonly ids: readonly string[]
  /** With further ids, one a line. */
  readonly file: string | undefined
}

/**
 * Revokes principals, in one transaction. Those that exist are revoked even where others do not exist: a misspelt id must not
 * keep a stolen credential valid.
 * @returns the exit status: 1 when one did not exist, or was revoked before
 * @throws `OPERATOR_USAGE` for a file that cannot be read, or has a line without a valid id
 */
export async function revoke ({ kysely, tell, progress: stream, actor, ids: named, file }: Request): Promise<number> {
  const ids = [...new Set([...named, ...file === undefined ? [] : await readIds(file)])]
  const progress = createProgress({ label: 'revoking', total: ids.length, stream })
  const revoked = new Set<string>()
  try {
    await kysely.transaction().execute(async (transaction) => {
      for (let at = 0; at < ids.length; at += CHUNK) {
        const chunk = await revokePrincipals(transaction, ids.slice(at, at + CHUNK))
        await appendAuditLogOfMany(transaction, { actor, act: 'credentials.revoke', targets: chunk })
        for (const id of chunk) revoked.add(id)
        progress.update(Math.min(at + CHUNK, ids.length))
      }
    })
  } finally {
    progress.stop()
  }
  tellSome(ids.filter((id) => revoked.has(id)).map((id) => `revoked ${toPrintable(id)}`), `revoked ${revoked.size} in all`, tell)
  const missing = ids.filter((id) => !revoked.has(id))
  const told = missing.slice(0, TOLD_MAX)
  const existing = new Set((await findPrincipals(kysely, told)).map(({ id }) => id))
  tellSome(missing.map((id) => toMissingText(id, existing.has(id))), `${missing.length} do not exist, or are revoked already`, tell)
  return missing.length > 0 ? 1 : 0
}

/** Why a principal cannot be changed. @param isThere - but revoked */
export function toMissingText (id: string, isThere: boolean): string {
  return isThere
    ? `${toPrintable(id)} is revoked already; restore accepts it again`
    : `there is no principal ${toPrintable(id)}; list shows all`
}

function tellSome (texts: readonly string[], sum: string, tell: Print): void {
  for (const text of texts.slice(0, TOLD_MAX)) tell(text)
  if (texts.length > TOLD_MAX) tell(sum)
}

async function readIds (file: string): Promise<string[]> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (cause) {
    throw usageError(`--file ${file} cannot be read: ${(cause as Error).message}`, { cause })
  }
  const ids: string[] = []
  for (const [index, line] of text.replace(/^\uFEFF/, '').split(/\r?\n/).entries()) {
    if (line === '') continue
    if (!isPrincipalId(line)) {
      throw usageError(`${file}, line ${index + 1}: "${toPrintable(line)}" cannot be an id: ${PRINCIPAL_ID_RULE}`)
    }
    ids.push(line)
  }
  if (ids.length === 0) throw usageError(`${file} names no principal`)
  return ids
}
