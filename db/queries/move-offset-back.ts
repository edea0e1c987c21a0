import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'
import type { Claim } from './claim-offset.ts'

/** Where a log ends that brokers cut back, or ended before it grew again. */
export interface CutEnd {
  /** Of the first record that is not the one that was read. */
  readonly nextOffset: number
  /** Of the record before it. */
  readonly leaderEpoch: number
}

/**
 * Moves a position back to where the log was cut, so that what stands there now is read. Batches of the claim that are under
 * way are refused from then on (VS001): one whose answer was lost would move the position past it again.
 *
 * A marker of an erasure that was cut off with the rest is taken to stand at the end. What stands behind was written later, so
 * it is newer than the erasure; what is older all the same is told by the request that its gateway had dealt with. The end
 * itself and not the record before it: that may be one of the device, for a group that has not come so far yet.
 * @returns `false`: the partition has been claimed since, or does not reach so far
 */
export async function moveOffsetBack (
  kysely: Kysely<Tables>, { consumerGroup, topicId, partition, epoch }: Claim, { nextOffset, leaderEpoch }: CutEnd
): Promise<boolean> {
  return await kysely.transaction().execute(async (transaction) => {
    const { numUpdatedRows } = await transaction.updateTable('sink_offsets')
      .set({ next_offset: nextOffset, leader_epoch: leaderEpoch, moved_at: sql`now()`, epoch: sql`epoch + 1` })
      .where('consumer_group', '=', consumerGroup).where('topic_id', '=', topicId).where('partition', '=', partition)
      .where('epoch', '=', epoch).where('next_offset', '>', nextOffset).executeTakeFirst()
    if (numUpdatedRows === 0n) return false
    await transaction.updateTable('erasure_markers').set({ marker_offset: nextOffset })
      .where('topic_id', '=', topicId).where('partition', '=', partition).where('marker_offset', '>', nextOffset).execute()
    return true
  })
}
