import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'

/**
 * Takes back a revocation: the principal is let in again, with a new secret only.
 * @param options.secretSha256 - 32 bytes
 * @returns false when there is no such principal, or it is not revoked
 */
export async function restorePrincipal (
  kysely: Kysely<Tables>, { id, secretSha256 }: { readonly id: string, readonly secretSha256: Buffer }
): Promise<boolean> {
  const { rows } = await sql`
    with restored as (
      update principals set revoked_at = null, changed_at = clock_timestamp()
      where id = ${id} and revoked_at is not null returning id
    )
    insert into credentials (principal, kind, secret_sha256)
    select id, 'secret', ${secretSha256} from restored returning id`.execute(kysely)
  return rows.length > 0
}
