import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'

/** @param ids - UUIDs @returns how many of them were there */
export async function deleteDeadLetters (kysely: Kysely<Tables>, ids: readonly string[]): Promise<number> {
  const { numAffectedRows } = await sql`
    delete from dead_letters where id in (
      select id from dead_letters where id = any(${[...ids]}::uuid[]) order by id for update)`.execute(kysely)
  return Number(numAffectedRows ?? 0)
}
