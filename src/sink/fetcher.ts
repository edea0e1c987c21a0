/**
 * Reads partitions: at most one request to each broker at a time, for those of its partitions that have room. Leaving
 * out partitions without room is all the back-pressure that is needed.
 *
 * The client's own stream cannot be used: it reads all partitions or none, and does not report errors by partition.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Admin, ConnectionPool, fetchV17, RecordsBatch } from '@platformatic/kafka'
import type { Logger } from 'pino'
import type { CutEnd } from '../../db/queries/move-offset-back.ts'
import { toKafkaMessage } from '../kafka/connection.ts'
import type { KafkaClient } from '../kafka/load-client.ts'
import type { SinkLimits } from './limits.ts'
import type { MembershipOptions } from './membership.ts'
import type { QueuedRecord, SinkPartition } from './partition.ts'
import { toKey } from './place.ts'

/** Kafka's codes of errors: OFFSET_OUT_OF_RANGE; UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID, INCONSISTENT_TOPIC_ID. */
const OUT_OF_RANGE = 1
const GONE: ReadonlySet<number> = new Set([3, 100, 103])
type Response = fetchV17.FetchResponse

/** Leader epoch: not known. */
const NO_EPOCH = -1
/** No fetch session, because each request asks for other partitions. */
const NO_SESSION = [0, -1] as const
const READ_UNCOMMITTED = 0
/** Bit of a batch's attributes. */
const IS_CONTROL = 1 << 5
const TOLD_EVERY_MS = 30_000

export interface FetcherOptions extends Pick<MembershipOptions, 'client' | 'connection' | 'limits' | 'logger'> {
  readonly client: KafkaClient
  readonly admin: Admin
  readonly topics: readonly string[]
  /** Partitions that may be read now and have room. */
  readonly fetchable: () => SinkPartition[]
  /** Called when records have arrived. */
  readonly onRecords: () => void
  /**
   * Called when the log differs from `end` on from what was read. The partition must not be fetched until it is claimed
   * again.
   */
  readonly onCutBack: (partition: SinkPartition, end: CutEnd) => void
  readonly limits: SinkLimits
  readonly logger: Logger
}

interface Broker {
  readonly host: string
  readonly port: number
}

interface Cluster {
  readonly brokers: ReadonlyMap<number, Broker>
  /** Leading broker, by the key of a partition. */
  readonly leaders: ReadonlyMap<string, number>
}

interface Asked {
  readonly partition: SinkPartition
  readonly generation: number
  readonly offset: number
}

export class Fetcher {
  readonly #options: FetcherOptions
  readonly #stopping = new AbortController()
  readonly #busy = new Map<number, Promise<void>>()
  #pool: ConnectionPool | null = null
  #cluster: Cluster | null = null
  #refreshing: Promise<void> | null = null
  #failures = 0
  #toldAtMs = -Infinity

  constructor (options: FetcherOptions) {
    this.#options = options
  }

  /** Fetches partitions that have room, from idle brokers. Called whenever a partition is added or has room again. */
  pump (): void {
    if (this.#stopping.signal.aborted || this.#refreshing !== null) return
    const partitions = this.#options.fetchable()
    if (partitions.length === 0) return
    const cluster = this.#cluster
    const isLed = ({ place }: SinkPartition) => cluster?.leaders.has(toKey(place)) === true
    if (cluster === null || !partitions.every(isLed)) this.#refresh()
    if (cluster === null) return
    const byLeader = groupBy(partitions.filter(isLed), ({ place }) => cluster.leaders.get(toKey(place))!)
    for (const [node, led] of byLeader) {
      const broker = cluster.brokers.get(node)
      // The partition has no leader for a moment.
      if (broker === undefined) this.#refresh()
      if (broker === undefined || this.#busy.has(node)) continue
      this.#busy.set(node, this.#ask(broker, led).finally(() => {
        this.#busy.delete(node)
        this.pump()
      }))
    }
  }

  /** Closes the connections; the next fetch opens new ones. */
  reconnect (): void {
    this.#pool?.close().catch(() => {})
    this.#pool = null
    this.#cluster = null
  }

  async stop (): Promise<void> {
    this.#stopping.abort()
    this.reconnect()
    await Promise.all([...this.#busy.values(), this.#refreshing])
  }

  /** Reads again which broker leads which partition. */
  #refresh (): void {
    this.#refreshing ??= this.#readCluster().finally(() => {
      this.#refreshing = null
      this.pump()
    })
  }

  async #readCluster (): Promise<void> {
    try {
      const { brokers, topics } = await this.#options.admin.metadata({ topics: [...this.#options.topics], forceUpdate: true })
      const leaders = new Map([...topics.values()].flatMap(({ id: topicId, partitions }) =>
        Object.entries(partitions).map(([partition, { leader }]): [string, number] =>
          [toKey({ topicId, partition: Number(partition) }), leader])))
      this.#cluster = { brokers, leaders }
      const topicIds = new Set([...topics.values()].map(({ id }) => id))
      for (const partition of this.#options.fetchable()) {
        // A new partition may be missing for a moment, but a topic may not.
        if (!topicIds.has(partition.place.topicId)) this.#stopGone(partition)
      }
      await this.#pause(this.#options.limits.retryMsMin)
    } catch (error) {
      await this.#fail(error)
    }
  }

  async #ask (broker: Broker, partitions: readonly SinkPartition[]): Promise<void> {
    const asked = new Map(partitions.map((partition): [string, Asked] =>
      [toKey(partition.place), { partition, generation: partition.generation, offset: partition.fetchOffset }]))
    try {
      const response = await this.#fetch(broker, [...asked.values()])
      this.#failures = 0
      if (this.#take(response, asked)) await this.#fail(new Error('a partition has another leader now'))
    } catch (error) {
      if (!this.#stopping.signal.aborted) await this.#fail(error)
    }
  }

  async #fetch (broker: Broker, asked: readonly Asked[]): Promise<Response> {
    const { client, connection, limits } = this.#options
    const { clientId, bootstrapBrokers: _, ...options } = connection
    this.#pool ??= new client.ConnectionPool(clientId, { ...options, requestTimeout: limits.fetchWaitMs + limits.requestTimeoutMs })
    const topics = [...groupBy(asked, ({ partition }) => partition.place.topicId)].map(([topicId, ofTopic]) => ({
      topicId,
      partitions: ofTopic.map(({ partition, offset }) => ({
        partition: partition.place.partition,
        currentLeaderEpoch: NO_EPOCH,
        fetchOffset: BigInt(offset),
        lastFetchedEpoch: partition.fetchEpoch ?? NO_EPOCH,
        partitionMaxBytes: limits.fetchPartitionBytesMax
      }))
    }))
    try {
      return await client.fetchV17.api.async(await this.#pool.get(broker), limits.fetchWaitMs, 1, limits.fetchBytesMax, READ_UNCOMMITTED,
        ...NO_SESSION, topics, [], '')
    } catch (error) {
      // If one partition has an error, the client rejects; its error holds the answers of the other partitions.
      const { response } = error as { response?: Response }
      if (response?.responses === undefined || response.errorCode !== 0) throw error
      return response
    }
  }

  /** @returns whether leaders must be looked up again */
  #take ({ responses }: Response, asked: ReadonlyMap<string, Asked>): boolean {
    let isStale = false
    let hasRecords = false
    for (const { topicId, partitions } of responses) {
      for (const answer of partitions) {
        const of = asked.get(toKey({ topicId, partition: answer.partitionIndex }))
        if (of === undefined || of.partition.generation !== of.generation || of.partition.fetchOffset !== of.offset) continue
        const outcome = this.#takePartition(of, answer)
        isStale ||= outcome === 'stale'
        hasRecords ||= outcome === 'records'
      }
    }
    if (hasRecords) this.#options.onRecords()
    return isStale
  }

  #takePartition ({ partition, offset }: Asked, answer: fetchV17.FetchResponsePartition): 'stale' | 'records' | null {
    const { errorCode, highWatermark, logStartOffset, records, divergingEpoch } = answer
    if (errorCode === OUT_OF_RANGE) {
      this.#stopOutOfRange(partition, offset)
      return null
    }
    if (GONE.has(errorCode)) {
      this.#stopGone(partition)
      return null
    }
    if (errorCode !== 0) return 'stale'
    if (divergingEpoch !== undefined && divergingEpoch.epoch !== NO_EPOCH) {
      this.#leaveHistory(partition, { nextOffset: Number(divergingEpoch.endOffset), leaderEpoch: divergingEpoch.epoch })
      return null
    }
    partition.highWatermark = Number(highWatermark)
    if (offset < Number(logStartOffset)) {
      this.#stopOutOfRange(partition, offset)
      return null
    }
    const queued = (records ?? []).flatMap((batch) => toQueued(batch, offset))
    const last = records?.at(-1)
    if (last !== undefined) partition.add(queued, Number(last.firstOffset) + last.lastOffsetDelta + 1, last.partitionLeaderEpoch)
    if (partition.isEmpty && partition.fetchOffset >= partition.highWatermark) partition.progress()
    return queued.length > 0 ? 'records' : null
  }

  /** Stops the partition. Continuing at another offset would skip records. */
  #stopOutOfRange (partition: SinkPartition, offset: number): void {
    const { topic, partition: number } = partition.place
    partition.halt('out_of_range',
      `partition ${number} of ${topic} does not have the position ${offset}, up to which it is stored: records were deleted before they ` +
      'were stored, or brokers lost them. Find out what was lost, then set next_offset of the partition in sink_offsets to its first ' +
      'offset: src/sink/README.md#out-of-range has the statement', this.#options.logger)
  }

  /** Called when the log does not hold the record before the position under its leader epoch. */
  #leaveHistory (partition: SinkPartition, end: CutEnd): void {
    if (end.nextOffset < partition.fetchOffset) {
      this.#options.onCutBack(partition, end)
      return
    }
    // Happens only after an unclean election. The offset at which the histories diverge is not known then.
    const { topic, partition: number } = partition.place
    partition.halt('out_of_range',
      `partition ${number} of ${topic} has another record before the position ${partition.fetchOffset} than the one that was read: a ` +
      'replica became leader that lacked acknowledged records. src/sink/README.md tells how to go on', this.#options.logger)
  }

  #stopGone (partition: SinkPartition): void {
    const { topic, topicId, partition: number } = partition.place
    partition.halt('gone', `partition ${number} of ${topic} (topic id ${topicId}) is gone: its topic was deleted, or made again`,
      this.#options.logger)
  }

  async #fail (error: unknown): Promise<void> {
    const { limits, logger } = this.#options
    this.reconnect()
    if (performance.now() - this.#toldAtMs > TOLD_EVERY_MS) {
      this.#toldAtMs = performance.now()
      logger.warn({ reason: toKafkaMessage(error) }, 'Kafka cannot be read; trying again')
    }
    const delayMs = Math.min(limits.retryMsMax, limits.retryMsMin * 2 ** this.#failures++)
    await this.#pause(delayMs)
  }

  async #pause (ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#stopping.signal }).catch(() => {})
  }
}

function toQueued (batch: RecordsBatch, from: number): QueuedRecord[] {
  if ((batch.attributes & IS_CONTROL) !== 0) return []
  const first = Number(batch.firstOffset)
  const isAppendTime = (batch.attributes & 1 << 3) !== 0
  const firstMs = Number(batch.firstTimestamp)
  const maxMs = Number(batch.maxTimestamp)
  const queued: QueuedRecord[] = []
  for (const { offsetDelta, timestampDelta, key, value, headers, length } of batch.records) {
    // Kafka sends whole batches, even if the position is within one.
    if (first + offsetDelta < from) continue
    queued.push({
      offset: first + offsetDelta,
      timestampMs: isAppendTime ? maxMs : firstMs + Number(timestampDelta),
      leaderEpoch: batch.partitionLeaderEpoch,
      bytes: length,
      key,
      record: { value, headers: headers as Array<[Buffer, Buffer]> },
      decoded: null
    })
  }
  return queued
}

/** As `Map.groupBy` of Node.js 22 does. */
function groupBy<Item, Key> (items: readonly Item[], toGroup: (item: Item) => Key): Map<Key, Item[]> {
  const groups = new Map<Key, Item[]>()
  for (const item of items) {
    const group = groups.get(toGroup(item))
    if (group === undefined) groups.set(toGroup(item), [item])
    else group.push(item)
  }
  return groups
}
