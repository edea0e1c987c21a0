import type { Kysely } from 'kysely'
import type { Tables } from '../tables.ts'

/** A group that is registered as a reader of the log. */
export interface Consumer {
  readonly group: string
  /** application_name of the process that claimed a partition last, or a text that a person wrote there. */
  readonly owner: string
}

export async function selectConsumers (kysely: Kysely<Tables>): Promise<Consumer[]> {
  return await kysely.selectFrom('sink_offsets').distinctOn('consumer_group')
    .select(['consumer_group as group', 'owner'])
    .orderBy('consumer_group').orderBy('claimed_at', 'desc').execute()
}
