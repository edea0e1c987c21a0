import type { Admin } from '@platformatic/kafka'
import { askOffsets, LATEST } from '../kafka/ask-offsets.ts'
import type { SinkPartition } from './partition.ts'

/**
 * Reads the end offsets of partitions that are not fetched now, because only a fetch would update them otherwise.
 * @throws errors of Kafka
 */
export async function lookAtEnds (admin: Pick<Admin, 'listOffsets'>, partitions: Iterable<SinkPartition>): Promise<void> {
  const waiting = [...partitions].filter(({ isWaiting, isEmpty }) => isWaiting && !isEmpty)
  for (const name of new Set(waiting.map(({ place }) => place.topic))) {
    const ofTopic = waiting.filter(({ place }) => place.topic === name)
    const ends = await askOffsets(admin, name, ofTopic.map(({ place }) => place.partition), LATEST)
    for (const partition of ofTopic) {
      partition.highWatermark = Math.max(partition.highWatermark, ends.get(partition.place.partition) ?? 0)
    }
  }
}
