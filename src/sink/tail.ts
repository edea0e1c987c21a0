import type { Logger } from 'pino'
import { askOffsets, EARLIEST, LATEST } from '../kafka/ask-offsets.ts'
import { toKafkaMessage, type toClientOptions } from '../kafka/connection.ts'
import type { KafkaClient } from '../kafka/load-client.ts'
import type { LogRecord } from '../kafka/records.ts'
import { Fetcher } from './fetcher.ts'
import { SINK_LIMITS } from './limits.ts'
import { SinkPartition } from './partition.ts'
import { toKey } from './place.ts'

interface TailOptions {
  readonly client: KafkaClient
  readonly connection: Awaited<ReturnType<typeof toClientOptions>>
  readonly topic: string
  /** Takes microseconds, never throws. */
  readonly onRecord: (record: LogRecord) => void
  readonly logger: Logger
}

/**
 * Reads all partitions of a topic from their ends, for a listener that keeps no position. Partitions that are added
 * later, or a topic that is made later, are read from the beginning.
 */
export function createTail ({ client, connection, topic, onRecord, logger }: TailOptions) {
  const limits = SINK_LIMITS
  const admin = new client.Admin({ ...connection, requestTimeout: limits.requestTimeoutMs })
  const partitions = new Map<string, SinkPartition>()
  let hasFoundEnds = false
  let timer: NodeJS.Timeout | undefined
  let looking: Promise<void> = Promise.resolve()

  const fetcher = new Fetcher({
    client,
    connection,
    admin,
    topics: [topic],
    fetchable: () => [...partitions.values()].filter((partition) => partition.state(limits.partitionBytesMax) === 'reading'),
    onRecords: take,
    onCutBack: (partition, { nextOffset, leaderEpoch }) => { partition.begin({ ...partition.claim!, nextOffset, leaderEpoch }) },
    limits,
    // Its messages about partitions that it cannot read are meant for sinks.
    logger: logger.child({}, { level: 'silent' })
  })

  function take (): void {
    for (const partition of partitions.values()) {
      for (let queued = partition.at(0); queued !== undefined; queued = partition.at(0)) {
        partition.release(1, { ...partition.claim!, nextOffset: queued.offset + 1, leaderEpoch: queued.leaderEpoch })
        onRecord(queued.record)
      }
    }
  }

  async function look (): Promise<void> {
    const there = await admin.listTopics()
    if (there.includes(topic)) await follow()
    else partitions.clear()
    hasFoundEnds = true
    fetcher.pump()
  }

  async function follow (): Promise<void> {
    const { topics } = await admin.metadata({ topics: [topic], forceUpdate: true })
    const { id: topicId, partitions: found } = topics.get(topic)!
    for (const [key, { place, stop }] of partitions) if (place.topicId !== topicId || stop !== null) partitions.delete(key)
    const added = [...found.keys()].filter((partition) => !partitions.has(toKey({ topicId, partition })))
    if (added.length === 0) return
    for (const [number, nextOffset] of await askOffsets(admin, topic, added, hasFoundEnds ? EARLIEST : LATEST)) {
      const place = { topic, topicId, partition: number }
      const partition = new SinkPartition(place, performance.now())
      partition.begin({ ...place, consumerGroup: '', epoch: 0, nextOffset, leaderEpoch: null, seenMarker: 0 })
      partitions.set(toKey(place), partition)
    }
  }

  function lookAgain (): void {
    looking = look().catch((error: unknown) => {
      logger.debug({ reason: toKafkaMessage(error), topic }, 'a topic cannot be looked at now')
    }).finally(() => { timer = setTimeout(lookAgain, limits.topicsMs) })
  }

  return {
    start (): void {
      lookAgain()
    },
    async stop (): Promise<void> {
      await looking
      clearTimeout(timer)
      await fetcher.stop()
      await admin.close().catch(() => {})
    }
  }
}
