/**
 * Finds which acknowledged records Kafka still has. A log that was cut back continues under a later leader epoch. So
 * the end of a record's epoch shows whether the record is lost, even if another record is at its offset now.
 */
import { type AskedEpoch, askLeaderEpochs, type AskOptions, type EpochEnd } from './ask-leader-epochs.ts'
import type { FindLost, LogPosition } from './log-position.ts'
import { TOPICS } from './topics.ts'

type Metadata = Awaited<ReturnType<AskOptions['admin']['metadata']>>

const toKey = (topicId: string, partition: number) => `${topicId} ${partition}`
const toEpochKey = ({ topic, partition, leaderEpoch }: AskedEpoch) => `${topic} ${partition} ${leaderEpoch}`

export function createLeaderEpochs (ask: AskOptions) {
  /** As of the last metadata. Each time it is a new map, so that a write keeps the one from before it. */
  let epochs: ReadonlyMap<string, number> = new Map()

  function note ({ topics }: Metadata): void {
    const found = new Map<string, number>()
    for (const { id, partitions } of topics.values()) {
      for (const [partition, { leaderEpoch }] of Object.entries(partitions)) found.set(toKey(id, Number(partition)), leaderEpoch)
    }
    epochs = found
  }

  return {
    /** Takes the epochs of new metadata. */
    note,

    /**
     * Called before a write.
     * @returns a function that gives the epoch of a partition as it was known before that write
     */
    before (): (topicId: string, partition: number) => number {
      const known = epochs
      return (topicId, partition) => known.get(toKey(topicId, partition)) ?? -1
    },

    /** @throws errors of the client */
    find: (async (positions) => {
      const metadata = await ask.admin.metadata({ topics: [...TOPICS], forceUpdate: true })
      note(metadata)
      const ends = await askAll(ask, positions.filter(({ leaderEpoch }) => leaderEpoch >= 0))
      return positions.map((position) => {
        const topic = metadata.topics.get(position.topic)
        if (topic === undefined) return null
        // The topic was deleted and created again, or the epoch was not known.
        if (topic.id !== position.topicId || position.leaderEpoch < 0) return true
        const end = ends.get(toEpochKey(position))
        return end === undefined ? null : end.endOffset <= position.offset
      })
    }) satisfies FindLost
  }
}

/** Asks in rounds, because a request has one epoch of each partition. More than one in use is rare. */
async function askAll (ask: AskOptions, positions: readonly LogPosition[]): Promise<ReadonlyMap<string, EpochEnd>> {
  const waiting = new Map<string, AskedEpoch>(positions.map((position) => [toEpochKey(position), position]))
  const found = new Map<string, EpochEnd>()
  while (waiting.size > 0) {
    const round = new Map<string, AskedEpoch>()
    for (const [key, epoch] of waiting) {
      const of = `${epoch.topic} ${epoch.partition}`
      if (round.has(of)) continue
      round.set(of, epoch)
      waiting.delete(key)
    }
    for (const end of await askLeaderEpochs(ask, [...round.values()])) {
      found.set(toEpochKey({ ...end, leaderEpoch: end.askedEpoch }), end)
    }
  }
  return found
}
