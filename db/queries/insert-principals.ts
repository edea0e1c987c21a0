import { type Kysely, sql } from 'kysely'
import type { Role } from '../../schemas/principal.ts'
import type { Tables } from '../tables.ts'

/** A principal with its first credential: the SHA-256 of a generated secret, or the PHC string of a password. */
export interface NewPrincipal {
  readonly id: string
  readonly role: Role
  /** 32 bytes. */
  readonly secretSha256?: Buffer | undefined
  readonly passwordArgon2id?: string | undefined
}

/**
 * Adds principals, each with its credential, in one statement. One that exists already, revoked or not, is left as it
 * is.
 * @param principals - ids differ; each has exactly one of the two credentials
 * @returns ids of those that were added
 * @throws SQLSTATE 23505 when a secret is in use already, 23514 for a principal without a credential; then none was
 *   added
 */
export async function insertPrincipals (
  kysely: Kysely<Tables>, principals: readonly NewPrincipal[]
): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    with given as (
      select * from unnest(
        ${principals.map(({ id }) => id)}::text[],
        ${principals.map(({ role }) => role)}::text[],
        ${principals.map(({ secretSha256 }) => secretSha256 ?? null)}::bytea[],
        ${principals.map(({ passwordArgon2id }) => passwordArgon2id ?? null)}::text[]
      ) as given (id, role, secret_sha256, password_argon2id)
    ), added as (
      insert into principals (id, role) select id, role from given order by id on conflict (id) do nothing returning id
    ), armed as (
      insert into credentials (principal, kind, secret_sha256, password_argon2id)
      select id, case when secret_sha256 is null then 'password' else 'secret' end, secret_sha256, password_argon2id
      from given join added using (id)
    )
    select id from added`.execute(kysely)
  return rows.map(({ id }) => id)
}
