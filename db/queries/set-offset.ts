import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'
import type { Claim } from './claim-offset.ts'

/**
 * Notes the position of a consumer that keeps it elsewhere, so that `topics trim` waits for the consumer. The position
 * may move back: the consumer then reads again what it has lost.
 * @returns `false`: another process has claimed the partition
 */
export async function setOffset (
  kysely: Kysely<Tables>, { consumerGroup, topicId, partition, epoch, nextOffset, leaderEpoch }: Claim
): Promise<boolean> {
  const { numUpdatedRows } = await kysely.updateTable('sink_offsets')
    .set({ next_offset: nextOffset, leader_epoch: leaderEpoch, moved_at: sql`now()` })
    .where('consumer_group', '=', consumerGroup).where('topic_id', '=', topicId).where('partition', '=', partition)
    .where('epoch', '=', epoch).executeTakeFirst()
  return numUpdatedRows > 0n
}
