import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'

/** A partition of a topic, as one consumer group reads it. */
export interface ConsumedPartition {
  readonly consumerGroup: string
  /** UUID of the topic: another topic may get its name later. */
  readonly topicId: string
  readonly partition: number
}

/** The right to store the records of one partition, until another sink claims it. */
export interface Claim extends ConsumedPartition {
  readonly epoch: number
  /** Offset of the first record that is not stored. */
  readonly nextOffset: number
  /** Leader epoch of the record before it; `null`: not known, or there is no such record. */
  readonly leaderEpoch: number | null
  /** Id of the last row of `erasure_markers` that its owner has read. */
  readonly seenMarker: number
}

/**
 * Takes a partition over. Each batch of an earlier owner is stored before this returns, or is refused afterwards: the lock
 * of the row orders them. One partition a transaction, so that no other one is held while it waits for such a batch.
 * @param by.owner - application_name of the sink
 * @param by.firstOffset - where a partition starts that the group has never claimed; 0 by default
 * @returns where to go on. Rows of `erasure_markers` that are read after this call include all up to `seenMarker`
 */
export async function claimOffset (
  kysely: Kysely<Tables>, { consumerGroup, topicId, partition }: ConsumedPartition, { topic, owner, firstOffset = 0 }: {
    readonly topic: string
    readonly owner: string
    readonly firstOffset?: number
  }
): Promise<Claim> {
  const { rows: [row] } = await sql<Pick<Claim, 'epoch' | 'nextOffset' | 'leaderEpoch' | 'seenMarker'>>`
    insert into sink_offsets as stored (consumer_group, topic, topic_id, partition, owner, next_offset)
    values (${consumerGroup}, ${topic}, ${topicId}, ${partition}, ${owner}, ${firstOffset})
    on conflict (consumer_group, topic_id, partition)
    do update set epoch = stored.epoch + 1, owner = excluded.owner, claimed_at = now()
    returning epoch, next_offset as "nextOffset", leader_epoch as "leaderEpoch",
      (select coalesce(max(id), 0) from erasure_markers) as "seenMarker"`.execute(kysely)
  return { consumerGroup, topicId, partition, ...row! }
}
