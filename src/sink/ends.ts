import type { Admin } from '@platformatic/kafka'
import type { SinkPartition } from './partition.ts'

/** Kafka's name of the offset behind the last record. */
const LATEST = -1n

/**
 * Asks how far partitions reach that are not fetched now: they have no other way to learn what has come.
 * @throws errors of Kafka
 */
export async function lookAtEnds (admin: Pick<Admin, 'listOffsets'>, partitions: Iterable<SinkPartition>): Promise<void> {
  const waiting = [...partitions].filter(({ isWaiting, isEmpty }) => isWaiting && !isEmpty)
  for (const name of new Set(waiting.map(({ place }) => place.topic))) {
    const ofTopic = waiting.filter(({ place }) => place.topic === name)
    const asked = ofTopic.map(({ place: { partition } }) => ({ partitionIndex: partition, timestamp: LATEST }))
    const [found] = await admin.listOffsets({ topics: [{ name, partitions: asked }] })
    const ends = new Map(found!.partitions.map(({ partitionIndex, offset }) => [partitionIndex, Number(offset)]))
    for (const partition of ofTopic) {
      partition.highWatermark = Math.max(partition.highWatermark, ends.get(partition.place.partition) ?? 0)
    }
  }
}
