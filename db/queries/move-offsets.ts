import { type Kysely, sql } from 'kysely'
import { type Step, toStatement } from '../write/pipeline.ts'
import type { Claim } from './claim-offset.ts'
import { toSqlState } from '../sqlstate.ts'
import type { Tables } from '../tables.ts'
import { toUuidBytes } from '../write/binary.ts'
import { type Column, unnest, withRows } from '../write/unnest.ts'

/** Stands for a leader epoch that is not known: Kafka counts epochs from 0. */
const UNKNOWN = -1

const COLUMNS: ReadonlyArray<Column<Claim>> = [
  { type: 'text', write: (writer, { consumerGroup }) => writer.text(consumerGroup) },
  { type: 'uuid', write: (writer, { topicId }) => writer.uuid(toUuidBytes(topicId)) },
  { type: 'int4', write: (writer, { partition }) => writer.int4(partition) },
  { type: 'int8', write: (writer, { epoch }) => writer.int8(epoch) },
  { type: 'int8', write: (writer, { nextOffset }) => writer.int8(nextOffset) },
  { type: 'int4', write: (writer, { leaderEpoch }) => writer.int4(leaderEpoch ?? UNKNOWN) },
  { type: 'int8', write: (writer, { seenMarker }) => writer.int8(seenMarker) }
]

/** SQLSTATE of `vital_refuse_replaced`. */
const REPLACED = 'VS001'
/** SQLSTATE of `vital_refuse_unseen`. */
const UNSEEN = 'VS002'

/**
 * The last statement of a sink's batch: its partitions are stored up to `nextOffset`. It fails, and the batch with it,
 * where another sink has claimed one of them, or where an erasure was registered that the sink has not read yet. It
 * comes last, so that an erasure that is registered after this check sees the locks of the batch and waits for it. An
 * offset never moves back: a batch whose answer was lost may commit after those that follow it. The leader epoch is
 * that of the offset that is kept.
 */
export function moveOffsets (kysely: Kysely<Tables>): (claims: readonly Claim[]) => Step {
  // A CTE that writes runs to its end whether or not it is read. No row is returned: it would be taken for an identity.
  const statement = toStatement(sql`
    with given as materialized (
      select * from ${unnest(COLUMNS)} as given (consumer_group, topic_id, partition, epoch, next_offset, leader_epoch, seen)
    ), moved as (
      update sink_offsets as stored set next_offset = greatest(stored.next_offset, given.next_offset), moved_at = now(),
        leader_epoch = case when given.next_offset > stored.next_offset then nullif(given.leader_epoch, ${sql.lit(UNKNOWN)})
          else stored.leader_epoch end
      from given
      where stored.consumer_group = given.consumer_group and stored.topic_id = given.topic_id
        and stored.partition = given.partition and stored.epoch = given.epoch
      returning stored.consumer_group, stored.topic_id, stored.partition
    )
    select vital_refuse_replaced(string_agg(topic_id || ' ' || partition, ','))
    from (select consumer_group, topic_id, partition from given except select * from moved) as replaced
    having count(*) > 0
    union all
    select vital_refuse_unseen() where (select min(seen) from given) < (select max(id) from erasure_markers)
  `.compile(kysely).sql)
  return (claims) => withRows(statement, COLUMNS, claims, 64)
}

/**
 * Partitions that another sink has claimed, by the error of a batch that was refused for it.
 * @returns `null` for any other error
 */
export function toReplaced (error: unknown): Array<Pick<Claim, 'topicId' | 'partition'>> | null {
  if (toSqlState(error) !== REPLACED) return null
  return (error as { detail: string }).detail.split(',').map((place) => {
    const [topicId, partition] = place.split(' ') as [string, string]
    return { topicId, partition: Number(partition) }
  })
}

/** Whether a batch was refused because of an erasure that the sink has not read yet. */
export function isUnseen (error: unknown): boolean {
  return toSqlState(error) === UNSEEN
}
