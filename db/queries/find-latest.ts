import type { Kysely } from 'kysely'
import type { Resource } from '../../schemas/vital-data.ts'
import type { Tables } from '../tables.ts'
import { resourceColumns } from './resource-columns.ts'

/** The latest state of one device. */
export async function findLatest (kysely: Kysely<Tables>, device: string): Promise<Resource | undefined> {
  return await kysely.selectFrom('latest').select(resourceColumns).where('device', '=', device).executeTakeFirst()
}
