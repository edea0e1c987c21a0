/**
 * Which of the records that Kafka had acknowledged it still has. A log that brokers cut back goes on under a later leader
 * epoch, so the end of the epoch of a record tells, also where other records stand at its offset by now.
 */
import { type AskedEpoch, askLeaderEpochs, type AskOptions, type EpochEnd } from './ask-leader-epochs.ts'
import type { FindLost, LogPosition } from './log-position.ts'
import { TOPICS } from './topics.ts'

type Metadata = Awaited<ReturnType<AskOptions['admin']['metadata']>>

const toKey = (topicId: string, partition: number) => `${topicId} ${partition}`
const toEpochKey = ({ topic, partition, leaderEpoch }: AskedEpoch) => `${topic} ${partition} ${leaderEpoch}`

export function createLeaderEpochs (ask: AskOptions) {
  /** As last looked at; another map each time, so that a write keeps the one before it. */
  let epochs: ReadonlyMap<string, number> = new Map()

  function note ({ topics }: Metadata): void {
    const found = new Map<string, number>()
    for (const { id, partitions } of topics.values()) {
      for (const [partition, { leaderEpoch }] of Object.entries(partitions)) found.set(toKey(id, Number(partition)), leaderEpoch)
    }
    epochs = found
  }

  return {
    /** Metadata that was asked for now. */
    note,

    /** The epochs as they are known before a write. @returns the epoch of a partition, for the positions of that write */
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
        // Its topic was made anew, or nobody knew its epoch.
        if (topic.id !== position.topicId || position.leaderEpoch < 0) return true
        const end = ends.get(toEpochKey(position))
        return end === undefined ? null : end.endOffset <= position.offset
      })
    }) satisfies FindLost
  }
}

/** A request has one epoch of each partition; more than one in use is rare. */
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
