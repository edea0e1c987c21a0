import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'

/** A line of `audit_log`. */
export interface StoredAct {
  readonly id: number
  /** Unix seconds. */
  readonly at: number
  readonly actor: string
  readonly act: string
  readonly target: string | null
  readonly details: Readonly<Record<string, unknown>>
}

/** The newest acts first. @param options.since - Unix seconds */
export async function selectAuditLog (
  kysely: Kysely<Tables>, { count, target, since }: {
    readonly count: number
    readonly target?: string | undefined
    readonly since?: number | undefined
  }
): Promise<StoredAct[]> {
  const { rows } = await sql<StoredAct>`
    select id, extract(epoch from at)::float8 as at, actor, act, target, details from audit_log
    where ${target === undefined ? sql`true` : sql`target = ${target}`}
      and ${since === undefined ? sql`true` : sql`at >= to_timestamp(${since})`}
    order by id desc limit ${count}`.execute(kysely)
  return rows
}
