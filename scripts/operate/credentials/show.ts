import type { StoredAct } from '../../../db/queries/select-audit-log.ts'
import type { StoredCredential, StoredPrincipal } from '../../../db/queries/principal-columns.ts'
import { toPrintable, toTable } from '../../command-line/printable.ts'

/** A principal as it may be shown: without anything that a secret could be checked with. */
export interface ShownPrincipal {
  readonly id: string
  readonly role: string
  /** Unix seconds, this and the next. */
  readonly createdAt: number
  readonly revokedAt: number | null
  readonly credentials: ReadonlyArray<Pick<StoredCredential, 'kind' | 'createdAt' | 'expiresAt'>>
}

/** Columns of `export`. */
export const EXPORT_COLUMNS = ['id', 'role', 'created_at', 'revoked_at', 'credentials'] as const

export function toShown ({ id, role, createdAt, revokedAt, credentials }: StoredPrincipal): ShownPrincipal {
  return {
    id, role, createdAt, revokedAt, credentials: credentials.map(({ kind, createdAt, expiresAt }) => ({ kind, createdAt, expiresAt }))
  }
}

/** @param nowS - Unix seconds */
export function toExportRow ({ id, role, createdAt, revokedAt, credentials }: ShownPrincipal, nowS: number): string[] {
  return [id, role, toInstant(createdAt), revokedAt === null
    ? ''
    : toInstant(revokedAt), credentials.map((one) => toCredentialText(one, nowS)).join('; ')]
}

/** The table of `list`. @param nowS - Unix seconds */
export function toPrincipalLines (principals: readonly ShownPrincipal[], nowS: number): string[] {
  if (principals.length === 0) return ['no principals: the gateway is open to every client that reaches it']
  return toTable([
    ['ID', 'ROLE', 'ADDED', 'CREDENTIALS'],
    ...principals.map(({ id, role, createdAt, revokedAt, credentials }) => [
      toPrintable(id), role, toInstant(createdAt),
      revokedAt === null ? credentials.map((one) => toCredentialText(one, nowS)).join(', ') : `revoked ${toInstant(revokedAt)}`
    ])
  ])
}

/** The table of `log`. */
export function toActLines (acts: readonly StoredAct[]): string[] {
  if (acts.length === 0) return ['no acts match']
  return toTable([
    ['AT', 'ACTOR', 'ACT', 'TARGET', 'DETAILS'],
    ...acts.map(({ at, actor, act, target, details }) => [
      toInstant(at), toPrintable(actor), act, toPrintable(target ?? ''), Object.keys(details).length === 0
        ? ''
        : toPrintable(JSON.stringify(details))
    ])
  ])
}

function toCredentialText ({ kind, expiresAt }: Pick<StoredCredential, 'kind' | 'expiresAt'>, nowS: number): string {
  if (expiresAt === null) return kind
  return `${kind} ${expiresAt <= nowS ? 'ended' : 'until'} ${toInstant(expiresAt)}`
}

function toInstant (unixS: number): string {
  return new Date(Math.floor(unixS) * 1000).toISOString().replace('.000Z', 'Z')
}
