import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'

/**
 * Refuses principals from now on and deletes their credentials. Their rows stay, so that their ids cannot be reused
 * unnoticed.
 * @returns ids of those that were there and not revoked before
 */
export async function revokePrincipals (kysely: Kysely<Tables>, ids: readonly string[]): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    with revoked as (
      update principals set revoked_at = now(), changed_at = clock_timestamp()
      where id = any(${[...ids]}::text[]) and revoked_at is null returning id
    ), disarmed as (
      delete from credentials where principal in (select id from revoked)
    )
    select id from revoked`.execute(kysely)
  return rows.map(({ id }) => id)
}
