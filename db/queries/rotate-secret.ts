import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'

/**
 * Gives a principal a new secret. Its other credentials end after a time of grace, or when they expire, if that is
 * sooner.
 * @param options.secretSha256 - 32 bytes
 * @param options.graceS - seconds for which the old credentials are still good; 0 ends them now
 * @returns false when there is no such principal, or it is revoked
 */
export async function rotateSecret (
  kysely: Kysely<Tables>, { id, secretSha256, graceS }: {
    readonly id: string
    readonly secretSha256: Buffer
    readonly graceS: number
  }
): Promise<boolean> {
  const { rows } = await sql`
    with changed as (
      update principals set changed_at = clock_timestamp() where id = ${id} and revoked_at is null returning id
    ), ended as (
      update credentials set expires_at = least(expires_at, clock_timestamp() + make_interval(secs => ${graceS}))
      where principal in (select id from changed)
    )
    insert into credentials (principal, kind, secret_sha256) select id, 'secret', ${secretSha256} from changed returning id`.execute(kysely)
  return rows.length > 0
}
