import type { Admin } from '@platformatic/kafka'
import { askOffsets, LATEST } from '../kafka/ask-offsets.ts'
import type { SinkPartition } from './partition.ts'

/**
 * Asks how far partitions reach that are not fetched now: they have no other way to learn what has come.
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
