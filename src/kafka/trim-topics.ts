/**
 * Deletes records that every registered consumer has stored and that are some hours old. A consumer is registered for a
 * topic by its positions (`sink_offsets`), also by positions in an earlier topic of the same name. So after a topic was
 * deleted and created again, nothing of a partition is deleted until all consumers have a position in it.
 */
import type { Admin } from '@platformatic/kafka'
import type { StoredOffset } from '../../db/queries/select-offsets.ts'
import type { AskedEpoch, EpochEnd } from './ask-leader-epochs.ts'
import { askOffsets, EARLIEST, LATEST } from './ask-offsets.ts'
import type { LogPartition } from './erasure-record.ts'
import { TOPICS } from './topics.ts'

/** The result for one partition. */
export interface TrimmedPartition {
  readonly topic: string
  readonly partition: number
  /** First offset before and after. */
  readonly from: number
  readonly to: number
  /** Why the record at `to` is kept: a consumer group with the reason, or its age. Printed for the operator. */
  readonly heldBy: string
}

export interface TrimOptions {
  readonly admin: Admin
  /** Finds the ends of leader epochs, one for each partition. @throws errors of the client */
  readonly findEpochEnds: (asked: readonly AskedEpoch[]) => Promise<readonly EpochEnd[]>
  /** Positions of all consumers. */
  readonly offsets: readonly StoredOffset[]
  /** Unix milliseconds; records that Kafka received later are kept. */
  readonly keptSinceMs: number
  readonly isDryRun: boolean
}

/** Offsets of one partition. */
interface Bounds {
  readonly earliest: number
  readonly latest: number
  /** First record that is too young. */
  readonly young: number
}

/**
 * Deletes below the smallest position of all consumers.
 * @throws errors of the client
 */
export async function trimTopics (
  { admin, findEpochEnds, offsets, keptSinceMs, isDryRun }: TrimOptions
): Promise<TrimmedPartition[]> {
  const there = await admin.listTopics()
  const { topics } = await admin.metadata({ topics: TOPICS.filter((name) => there.includes(name)), forceUpdate: true })
  const cut = await findCut(offsets, new Set([...topics.values()].map(({ id }) => id)), findEpochEnds)
  const trimmed: TrimmedPartition[] = []
  for (const name of TOPICS) {
    const topic = topics.get(name)
    if (topic === undefined) continue
    const bounds = await findBounds(admin, name, topic.partitions.length, keptSinceMs)
    const plan = bounds.map((of, partition) => toTrimmed({ topic: name, topicId: topic.id, partition }, of, offsets, cut))
    const partitions = plan.filter(({ from, to }) => to > from).map(({ partition, to }) => ({ partition, offset: BigInt(to) }))
    if (!isDryRun && partitions.length > 0) await admin.deleteRecords({ topics: [{ name, partitions }] })
    trimmed.push(...plan)
  }
  return trimmed
}

/**
 * Positions behind a record that brokers lost: other records may be below them now that were not read. Positions in a
 * partition without a leader count as such.
 */
async function findCut (
  offsets: readonly StoredOffset[], topicIds: ReadonlySet<string>, findEpochEnds: TrimOptions['findEpochEnds']
): Promise<ReadonlySet<StoredOffset>> {
  const cut = new Set<StoredOffset>()
  // One epoch of each partition at a time.
  for (const group of new Set(offsets.map(({ consumerGroup }) => consumerGroup))) {
    const known = offsets.filter(({ consumerGroup, topicId, leaderEpoch }) =>
      consumerGroup === group && topicIds.has(topicId) && leaderEpoch !== null)
    const ends = await findEpochEnds(known.map(({ topic, partition, leaderEpoch }) => ({ topic, partition, leaderEpoch: leaderEpoch! })))
    for (const offset of known) {
      const end = ends.find(({ topic, partition }) => topic === offset.topic && partition === offset.partition)
      if (end === undefined || end.leaderEpoch !== offset.leaderEpoch || end.endOffset < offset.nextOffset) cut.add(offset)
    }
  }
  return cut
}

function toTrimmed (
  { topic, topicId, partition }: LogPartition, bounds: Bounds, offsets: readonly StoredOffset[], cut: ReadonlySet<StoredOffset>
): TrimmedPartition {
  const { earliest, latest, young } = bounds
  const kept = { topic, partition, from: earliest, to: earliest }
  const groups = [...new Set(offsets.filter((offset) => offset.topic === topic).map(({ consumerGroup }) => consumerGroup))]
  if (groups.length === 0) return { ...kept, heldBy: 'no consumer is registered' }
  let [to, heldBy] = [young, 'the age of its records']
  for (const group of groups) {
    const stored = offsets.find((offset) =>
      offset.consumerGroup === group && offset.topicId === topicId && offset.partition === partition)
    if (stored === undefined) return { ...kept, heldBy: `${group}, which has no position here` }
    if (stored.nextOffset > latest) return { ...kept, heldBy: `${group}, whose position ${stored.nextOffset} Kafka does not have` }
    if (cut.has(stored)) return { ...kept, heldBy: `${group}, up to whose position ${stored.nextOffset} brokers lost records` }
    if (stored.nextOffset < to) [to, heldBy] = [stored.nextOffset, group]
  }
  return { ...kept, to: Math.max(earliest, to), heldBy }
}

async function findBounds (admin: Admin, topic: string, count: number, sinceMs: number): Promise<Bounds[]> {
  const partitions = Array.from({ length: count }, (_, partition) => partition)
  const ask = (timestamp: bigint) => askOffsets(admin, topic, partitions, timestamp)
  const young = await ask(BigInt(sinceMs))
  const [earliest, latest] = [await ask(EARLIEST), await ask(LATEST)]
  return partitions.map((partition) => {
    const [first, end, younger] = [earliest.get(partition)!, latest.get(partition)!, young.get(partition)!]
    // -1: all records are older.
    return { earliest: first, latest: end, young: younger < 0 ? end : younger }
  })
}
