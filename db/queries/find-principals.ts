import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'
import { PRINCIPAL_COLUMNS, type StoredPrincipal } from './principal-columns.ts'

/**
 * Principals by id, in no order; unknown ids are left out.
 * @param ids - without U+0000, which PostgreSQL refuses
 */
export async function findPrincipals (kysely: Kysely<Tables>, ids: readonly string[]): Promise<StoredPrincipal[]> {
  const { rows } = await sql<StoredPrincipal>`
    select ${PRINCIPAL_COLUMNS} from principals where id = any(${[...ids]}::text[])`.execute(kysely)
  return rows
}
