/**
 * Erasures of readings that wait in Kafka. A record of the device is older than the erasure where it stands before the
 * marker of its partition. Each sink reads the erasures registered here before it stores anything more (VS002). So from
 * then on no older record comes into the database, and records behind a marker wait until the database is cleared.
 */
import { type Kysely, sql } from 'kysely'
import type { ConsumedPartition } from '../queries/claim-offset.ts'
import type { Tables } from '../tables.ts'

/** A partition of a topic, for every consumer group. */
export type MarkedPartition = Pick<ConsumedPartition, 'topicId' | 'partition'>

export interface LogErasure {
  readonly id: number
  /** UUID that its markers in Kafka carry. */
  readonly marker: string
  /** PostgreSQL holds nothing older of the device any more. */
  readonly isCleared: boolean
}

/** An erasure as a sink needs it, for one partition. */
export interface ErasureMark extends MarkedPartition {
  readonly marker: string
  readonly device: string
  /** `null`: not known yet, so the marker lies ahead. */
  readonly markerOffset: number | null
  readonly isCleared: boolean
}

interface Registration {
  readonly device: string
  /** By the request that a gateway carries out, or by the marker that a sink has found. */
  readonly by: { readonly request: number } | { readonly marker: string }
  /** Partitions that hold a marker, or will. */
  readonly partitions: readonly MarkedPartition[]
}

/**
 * Registers an erasure, or more partitions of one that a gateway carries out. Partitions of an erasure that a sink has
 * found are registered once: a second copy of its marker may be found long after the first copy was forgotten.
 * @returns once it is committed: no sink stores anything more without having read it
 */
export async function registerLogErasure (kysely: Kysely<Tables>, { device, by, partitions }: Registration): Promise<LogErasure> {
  return await kysely.transaction().execute(async (transaction) => {
    // Inserts take turns, readers do not wait. A reader that has seen an id would miss a smaller one committed later.
    await sql`lock table erasure_markers in share row exclusive mode`.execute(transaction)
    const { numInsertedOrUpdatedRows } = await transaction.insertInto('log_erasures').values({ device, ...by })
      .onConflict((conflict) => conflict.doNothing()).executeTakeFirstOrThrow()
    const [[column, value] = []] = Object.entries(by) as Array<[keyof typeof by, number | string]>
    const erasure = await transaction.selectFrom('log_erasures')
      .select(['id', 'marker', sql<boolean>`cleared_at is not null`.as('isCleared')])
      .where(sql.ref(column!), '=', value).executeTakeFirstOrThrow()
    if ('request' in by || numInsertedOrUpdatedRows === 1n) {
      await transaction.insertInto('erasure_markers')
        .values(partitions.map(({ topicId, partition }) => ({ erasure: erasure.id, topic_id: topicId, partition })))
        .onConflict((conflict) => conflict.doNothing()).execute()
    }
    return erasure
  })
}

/** Notes the offsets of markers. In each partition the first offset that is noted counts. */
export async function noteMarkers (
  kysely: Kysely<Tables>, erasure: number, found: ReadonlyArray<MarkedPartition & { readonly offset: number }>
): Promise<void> {
  if (found.length === 0) return
  await kysely.insertInto('erasure_markers')
    .values(found.map(({ topicId, partition, offset }) => ({ erasure, topic_id: topicId, partition, marker_offset: offset })))
    .onConflict((conflict) => conflict.columns(['erasure', 'topic_id', 'partition']).doUpdateSet({
      marker_offset: sql<number>`coalesce(erasure_markers.marker_offset, excluded.marker_offset)`
    })).execute()
}

/**
 * Erasures that a consumer group has to know, for the partitions that it reads.
 * @returns `seen`: id of the newest row, of all partitions
 */
export async function selectErasureMarks (
  kysely: Kysely<Tables>, consumerGroup: string, partitions: readonly MarkedPartition[]
): Promise<{ readonly seen: number, readonly marks: readonly ErasureMark[] }> {
  const topicIds = partitions.map(({ topicId }) => topicId)
  const numbers = partitions.map(({ partition }) => partition)
  const { rows } = await sql<Omit<ErasureMark, 'topicId'> & { seen: number, topicId: string | null }>`
    select seen.id as seen, mark.* from (select coalesce(max(id), 0) as id from erasure_markers) seen left join (
      select topic_id as "topicId", partition, marker, device, marker_offset as "markerOffset", cleared_at is not null as "isCleared"
      from unnest(${topicIds}::uuid[], ${numbers}::integer[]) as read (topic_id, partition)
      join erasure_markers using (topic_id, partition)
      join log_erasures on log_erasures.id = erasure
      left join (select * from sink_offsets where consumer_group = ${consumerGroup}) as stored using (topic_id, partition)
      where cleared_at is null or marker_offset is null or marker_offset >= coalesce(next_offset, 0)
    ) mark on true`.execute(kysely)
  return { seen: rows[0]!.seen, marks: rows.filter((row): row is ErasureMark & { seen: number } => row.topicId !== null) }
}

/** A device, and the request to erase it. */
export interface RequestedErasure {
  readonly device: string
  readonly request: number
}

/** Erasures that some gateway may not know yet: records that it writes behind the markers still count as older. */
export async function selectRequestedErasures (kysely: Kysely<Tables>): Promise<RequestedErasure[]> {
  return await kysely.selectFrom('log_erasures').innerJoin('erasures', 'erasures.id', 'log_erasures.request')
    .select(['log_erasures.device', 'erasures.id as request']).execute()
}

/**
 * Takes over the erasures that no gateway clears, because a sink has found them in Kafka.
 * @param owner - application_name of the sink
 */
export async function takeFoundErasures (kysely: Kysely<Tables>, owner: string): Promise<Array<{ id: number, device: string }>> {
  const { rows } = await sql<{ id: number, device: string }>`
    update log_erasures set cleared_by = ${owner}
    where cleared_at is null and request is null and (cleared_by is null or cleared_by = ${owner} or cleared_by not in (
      select application_name from pg_stat_activity where datname = current_database()))
    returning id, device`.execute(kysely)
  return rows
}
