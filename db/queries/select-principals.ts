import { type Kysely, sql } from 'kysely'
import type { Role } from '../../schemas/principal.ts'
import type { Tables } from '../tables.ts'
import { PRINCIPAL_COLUMNS, type StoredPrincipal } from './principal-columns.ts'

/**
 * One page of the principals, by id. To read all of them, give the last id of a page as `after` of the next, until one
 * is empty: each page costs the same, and those that do not change meanwhile come exactly once.
 */
export async function selectPrincipals (
  kysely: Kysely<Tables>, { count, after, role }: {
    readonly count: number
    readonly after?: string | undefined
    readonly role?: Role | undefined
  }
): Promise<StoredPrincipal[]> {
  const { rows } = await sql<StoredPrincipal>`
    select ${PRINCIPAL_COLUMNS} from principals
    where id > ${after ?? ''} and ${role === undefined ? sql`true` : sql`role = ${role}`}
    order by id limit ${count}`.execute(kysely)
  return rows
}
