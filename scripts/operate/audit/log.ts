/** The log in the audit: how far each consumer has stored each topic, and whether Kafka still has the next record. */
import type { Admin } from '@platformatic/kafka'
import type { StoredOffset } from '../../../db/queries/select-offsets.ts'
import { askOffsets, EARLIEST, LATEST } from '../../../src/kafka/ask-offsets.ts'
import { type TopicFault, TOPICS } from '../../../src/kafka/topics.ts'
import type { Finding } from './finding.ts'

/** A partition as Kafka has it. */
export interface LogPartition {
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  readonly earliest: number
  /** Behind the last record. */
  readonly latest: number
}

/** The partitions in Kafka, and how far they are stored. */
export interface Log {
  readonly partitions: readonly LogPartition[]
  /** Of all consumers, read before the partitions. */
  readonly offsets: readonly StoredOffset[]
  readonly faults: readonly TopicFault[]
  /** The operator allows weak topics. */
  readonly isWeakAllowed: boolean
  /** The consumer group that stores the log in this database. */
  readonly sinkGroup: string
}

/** @throws errors of Kafka's client */
export async function readPartitions (admin: Admin): Promise<LogPartition[]> {
  const there = await admin.listTopics()
  const names = TOPICS.filter((name) => there.includes(name))
  if (names.length === 0) return []
  const { topics } = await admin.metadata({ topics: [...names], forceUpdate: true })
  const partitions: LogPartition[] = []
  for (const [topic, { id: topicId, partitions: { length } }] of topics) {
    const numbers = Array.from({ length }, (_, partition) => partition)
    const [earliest, latest] = [await askOffsets(admin, topic, numbers, EARLIEST), await askOffsets(admin, topic, numbers, LATEST)]
    for (const partition of numbers) {
      partitions.push({ topic, topicId, partition, earliest: earliest.get(partition)!, latest: latest.get(partition)! })
    }
  }
  return partitions
}

/** Records that sinks have not stored in this database. */
export function countWaiting ({ partitions, offsets, sinkGroup }: Log): number {
  return partitions.reduce((sum, partition) => sum + lagOf(partition, positionOf(offsets, sinkGroup, partition)), 0)
}

/** One finding for each consumer and topic, and one for each fault of a topic. */
export function checkLog (log: Log): Finding[] {
  const { partitions, offsets, faults, isWeakAllowed, sinkGroup } = log
  const groups = [...new Set([sinkGroup, ...offsets.map(({ consumerGroup }) => consumerGroup)])]
  return [
    ...faults.map(({ topic, kind, message }): Finding =>
      ({ subject: topic, status: kind === 'minor' || (kind === 'weak' && isWeakAllowed) ? 'explained' : 'wrong', text: message })),
    ...groups.flatMap((group) => TOPICS.flatMap((topic) => {
      const isReader = group === sinkGroup || offsets.some((offset) => offset.consumerGroup === group && offset.topic === topic)
      const ofTopic = partitions.filter((partition) => partition.topic === topic)
      return isReader && ofTopic.length > 0 ? [checkConsumer(group, topic, ofTopic, offsets)] : []
    }))
  ]
}

function checkConsumer (group: string, topic: string, partitions: readonly LogPartition[], offsets: readonly StoredOffset[]): Finding {
  const subject = `${topic}, ${group}`
  const losses: string[] = []
  let waiting = 0
  for (const partition of partitions) {
    const position = positionOf(offsets, group, partition)
    waiting += lagOf(partition, position)
    const { earliest, latest, partition: number } = partition
    if (position !== null && position < earliest) {
      losses.push(`partition ${number}: ${earliest - position} records were deleted before they were stored`)
    } else if (position !== null && position > latest) {
      losses.push(`partition ${number}: it is stored up to ${position}, and Kafka ends at ${latest}: brokers lost records`)
    }
  }
  if (losses.length > 0) return { subject, status: 'wrong', text: `${losses.join('; ')}. src/sink/README.md tells how to go on.` }
  return waiting === 0
    ? { subject, status: 'ok', text: `all of ${partitions.length} partitions is stored` }
    : { subject, status: 'explained', text: `${waiting} records of ${partitions.length} partitions wait in Kafka.` }
}

/** @returns `null`: it has never read the partition */
function positionOf (offsets: readonly StoredOffset[], group: string, { topicId, partition }: LogPartition): number | null {
  return offsets.find((offset) => offset.consumerGroup === group && offset.topicId === topicId && offset.partition === partition)
    ?.nextOffset ?? null
}

function lagOf ({ earliest, latest }: LogPartition, position: number | null): number {
  return Math.max(0, latest - Math.max(earliest, position ?? 0))
}
