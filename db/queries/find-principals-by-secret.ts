import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'
import { PRINCIPAL_COLUMNS, type StoredPrincipal } from './principal-columns.ts'

/**
 * Principals that have one of the secrets, expired or not, in no order.
 * @param hashes - SHA-256 of the secrets, 32 bytes each
 */
export async function findPrincipalsBySecret (
  kysely: Kysely<Tables>, hashes: readonly Buffer[]
): Promise<StoredPrincipal[]> {
  const { rows } = await sql<StoredPrincipal>`
    select ${PRINCIPAL_COLUMNS} from principals
    where id in (select principal from credentials where secret_sha256 = any(${[...hashes]}::bytea[]))`.execute(kysely)
  return rows
}
