import type { Kysely } from 'kysely'
import type { Tables } from '../tables.ts'
import type { ConsumedPartition } from './claim-offset.ts'

/** How far a consumer group has stored a partition. */
export interface StoredOffset extends ConsumedPartition {
  readonly topic: string
  readonly nextOffset: number
  /** Leader epoch of the record before it; `null`: not known. */
  readonly leaderEpoch: number | null
}

/** Of every consumer group and topic that was ever read, also of topics that are gone. */
export async function selectOffsets (kysely: Kysely<Tables>): Promise<StoredOffset[]> {
  return await kysely.selectFrom('sink_offsets')
    .select(['consumer_group as consumerGroup', 'topic', 'topic_id as topicId', 'partition', 'next_offset as nextOffset'])
    .select('leader_epoch as leaderEpoch')
    .orderBy('consumer_group').orderBy('topic').orderBy('topic_id').orderBy('partition').execute()
}
