import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'
import type { Claim } from './claim-offset.ts'

/** The end of a log that brokers cut back; it may have grown again since. */
export interface CutEnd {
  /** Offset of the first record that is not the one that was read. */
  readonly nextOffset: number
  /** Leader epoch of the record before it. */
  readonly leaderEpoch: number
}

/**
 * Moves a position back to where the log was cut, so that the records that stand there now are read. Batches of the
 * claim that are under way are refused from then on (VS001): one whose answer was lost would move the position forward
 * again.
 *
 * The marker of an erasure that was cut off too is taken to stand at the end. Records behind it were written later, so
 * they are newer than the erasure. (One that is older all the same is recognised by the request that its gateway had
 * dealt with.) The marker stands at the end and not at the record before it, because that one may be a record of the
 * device that another group has yet to read.
 * @returns `false`: the partition has been claimed since, or its position does not reach so far
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
