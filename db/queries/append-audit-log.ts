import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'

/** One administrative act, for the table `audit_log`. */
export interface AuditEntry {
  /** Id of the acting principal, or `cli:{user}@{host}`. */
  readonly actor: string
  /** Such as `credentials.add`. */
  readonly act: string
  readonly target?: string | undefined
  /** JSON values; no secret and no reading. */
  readonly details?: Readonly<Record<string, unknown>> | undefined
}

/** Notes an act. Give the transaction of the act itself, so that neither stands without the other. */
export async function appendAuditLog (
  kysely: Kysely<Tables>, { actor, act, target, details }: AuditEntry
): Promise<void> {
  await sql`
    insert into audit_log (actor, act, target, details)
    values (${actor}, ${act}, ${target ?? null}, ${JSON.stringify(details ?? {})}::jsonb)`.execute(kysely)
}

/** Notes one act for each of many targets, in one statement. */
export async function appendAuditLogOfMany (
  kysely: Kysely<Tables>, { actor, act, targets }: {
    readonly actor: string
    readonly act: string
    readonly targets: readonly string[]
  }
): Promise<void> {
  await sql`insert into audit_log (actor, act, target) select ${actor}, ${act}, unnest(${[...targets]}::text[])`.execute(kysely)
}
