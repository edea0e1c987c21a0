/**
 * The log as a gateway writes it. A write resolves once every partition has acknowledged with acks=all: all in-sync
 * replicas have it, and Kafka refuses a write if fewer than `min.insync.replicas` are in sync. One partition that does
 * not acknowledge fails the whole write. Its retry writes the records of the other partitions a second time; readers
 * recognize these by their id.
 *
 * The producer is not idempotent: its idempotence covers one send only and prevents the pipelining of requests, and a
 * retry after an error makes a second record anyway. The client itself retries once, if a leader has moved.
 */
import type { Admin, Producer } from '@platformatic/kafka'
import type { KafkaConfig } from '../config/kafka-config.ts'
import { isKafkaError, toClientOptions, toKafkaMessage } from './connection.ts'
import { KAFKA_LIMITS } from './limits.ts'
import { createLeaderEpochs } from './leader-epochs.ts'
import { loadKafkaClient } from './load-client.ts'
import type { LogPartition } from './erasure-record.ts'
import type { FindLost, LogPosition } from './log-position.ts'
import type { OutgoingRecord } from './records.ts'
import { checkTopics, TOPICS, type TopicFault, type Topics } from './topics.ts'

/** Longest that the answer to a ping may take. */
const PING_TIMEOUT_MS = 3000
/**
 * Time-out of a request. Then the connection is closed: a broker that hangs, or a network that drops packets, gives no
 * other sign.
 */
const REQUEST_TIMEOUT_MS = 5000

/** Kafka did not take records. The message contains no record, because payloads must not be logged. */
export class KafkaError extends Error {
  /** `VITAL_KAFKA_REFUSED`: Kafka answers, and refuses these records because of their size. */
  readonly code: 'VITAL_KAFKA_AWAY' | 'VITAL_KAFKA_REFUSED'

  constructor (message: string, code: KafkaError['code'] = 'VITAL_KAFKA_AWAY') {
    super(message)
    this.code = code
  }
}

interface KafkaLogOptions {
  readonly kafka: KafkaConfig
  /** The feature that needs Kafka, as messages name it. */
  readonly asked: string
  /** Name that brokers log. */
  readonly clientId: string
  /** Size of the largest batch of records, which topics must accept. */
  readonly messageBytesMin: number
}

/** Counts of writes since the start, for the metrics. */
export interface KafkaStatistics {
  readonly records: number
  readonly bytes: number
  readonly requests: number
  readonly failures: number
  /** As of the last check. */
  readonly topicFaults: number
}

/**
 * Connects only when it is used.
 * @throws `ConfigError` if Kafka's client cannot be loaded or a configured file cannot be read
 */
export async function createKafkaLog ({ kafka, asked, clientId, messageBytesMin }: KafkaLogOptions) {
  const client = await loadKafkaClient(asked)
  const options = { ...await toClientOptions(kafka, clientId), requestTimeout: REQUEST_TIMEOUT_MS, timeout: REQUEST_TIMEOUT_MS }
  const admin = new client.Admin(options)
  const producer = new client.Producer({ ...options, acks: client.ProduceAcks.ALL })
  const epochs = createLeaderEpochs({ client, admin, connection: options, requestTimeoutMs: REQUEST_TIMEOUT_MS })
  const statistics = { records: 0, bytes: 0, requests: 0, failures: 0 }
  let onAcknowledged: (positions: readonly LogPosition[]) => void = () => {}
  let topics: Topics | null = null

  /**
   * @returns faults of the topics
   * @throws {@link KafkaError} if Kafka does not answer
   */
  async function check (): Promise<readonly TopicFault[]> {
    topics = await translate(checkTopics(client, admin, messageBytesMin))
    return topics.faults
  }

  async function appendSome (records: OutgoingRecord[]): Promise<void> {
    statistics.requests++
    const epochOf = epochs.before()
    const { offsets = [] } = await producer.send({ messages: records, acks: client.ProduceAcks.ALL })
    const { topics } = await producer.metadata({ topics: [...TOPICS] })
    const expected = new Map<string, number>()
    for (const { topic, partition } of records) {
      const key = `${topic} ${partition % topics.get(topic)!.partitionsCount}`
      expected.set(key, (expected.get(key) ?? 0) + 1)
    }
    const positions = offsets.map(({ topic, partition, offset }): LogPosition => {
      const topicId = topics.get(topic)!.id
      const count = expected.get(`${topic} ${partition}`) ?? 1
      expected.delete(`${topic} ${partition}`)
      return { topic, topicId, partition, offset: Number(offset) + count - 1, leaderEpoch: epochOf(topicId, partition) }
    })
    if (expected.size > 0) throw new KafkaError(`Kafka did not acknowledge ${[...expected.keys()].join(', ')}`)
    onAcknowledged(positions)
  }

  return {
    check,
    /** Finds which of these records are lost. @throws {@link KafkaError} */
    findLost: (async (positions) => await translate(epochs.find(positions))) satisfies FindLost,
    /** @param listener - called with the last record of each partition of a write */
    onAcknowledged (listener: (positions: readonly LogPosition[]) => void): void {
      onAcknowledged = listener
    },
    statistics: (): KafkaStatistics => ({ ...statistics, topicFaults: topics?.faults.length ?? 0 }),

    /**
     * @returns once all in-sync replicas of every partition have the records
     * @throws {@link KafkaError}; any of the records may be in the log nevertheless
     */
    async append (records: readonly OutgoingRecord[]): Promise<void> {
      try {
        for (const part of toParts(records)) await translate(appendSome(part))
      } catch (error) {
        statistics.failures++
        throw error
      }
      statistics.records += records.length
      for (const { value } of records) statistics.bytes += value.length
    },

    /**
     * Reads the metadata again: each partition must have a leader, and as many replicas in sync as a write needs.
     * @throws {@link KafkaError}
     */
    async ping (): Promise<void> {
      await inTime(translate(ping()), PING_TIMEOUT_MS)
    },

    /** The current partitions of both topics. @throws {@link KafkaError} */
    async partitions (): Promise<LogPartition[]> {
      const { topics } = await translate(producer.metadata({ topics: [...TOPICS], forceUpdate: true }))
      return [...topics].flatMap(([topic, { id: topicId, partitions }]) =>
        partitions.map((_, partition) => ({ topic, topicId, partition })))
    },

    /**
     * Writes each record into the partition that it names; the partition must exist.
     * @returns the offsets, once all in-sync replicas have the records
     * @throws {@link KafkaError}; any of the records may be in the log nevertheless
     */
    async appendTo (records: OutgoingRecord[]): Promise<Array<Omit<LogPartition, 'topicId'> & { readonly offset: number }>> {
      const { offsets = [] } = await translate(producer.send({ messages: records, acks: client.ProduceAcks.ALL }))
      return records.map(({ topic, partition }) => {
        const written = offsets.find((other) => other.topic === topic && other.partition === partition)
        if (written === undefined) throw new KafkaError(`Kafka did not acknowledge a record of ${topic}, partition ${partition}`)
        return { topic, partition, offset: Number(written.offset) }
      })
    },

    /** Requests that have no answer yet fail. */
    async close (): Promise<void> {
      await Promise.allSettled([close(producer), close(admin)])
    }
  }

  async function ping (): Promise<void> {
    if (topics === null) await check()
    const found = await producer.metadata({ topics: [...TOPICS], forceUpdate: true })
    epochs.note(found)
    for (const name of TOPICS) {
      const inSyncMin = topics?.inSyncMin.get(name) ?? 1
      for (const [index, { leader, isr }] of (found.topics.get(name)?.partitions ?? []).entries()) {
        if (leader < 0) throw new KafkaError(`${name}, partition ${index}, has no leader`)
        if (isr.length < inSyncMin) {
          throw new KafkaError(`${name}, partition ${index}, has ${isr.length} replicas in sync, and a write needs ${inSyncMin}`)
        }
      }
    }
  }
}

/** See {@link createKafkaLog}. */
export type KafkaLog = Awaited<ReturnType<typeof createKafkaLog>>

/** Parts of at most `requestBytesMax` each, because all records of a part may go to one partition. */
function toParts (records: readonly OutgoingRecord[]): OutgoingRecord[][] {
  const parts: OutgoingRecord[][] = []
  let bytes = Infinity
  for (const record of records) {
    const size = record.key.length + record.value.length
    if (bytes + size > KAFKA_LIMITS.requestBytesMax) {
      parts.push([])
      bytes = 0
    }
    parts.at(-1)!.push(record)
    bytes += size
  }
  return parts
}

/** Replaces errors of the client, because they hold requests and answers, and so payloads. */
async function translate<T> (work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (!isKafkaError(error)) throw error
    const { findBy } = error as { findBy?: (property: string, value: unknown) => unknown }
    const isTooLarge = ['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE'].some((id) => findBy?.call(error, 'apiId', id) != null)
    throw new KafkaError(toKafkaMessage(error), isTooLarge ? 'VITAL_KAFKA_REFUSED' : 'VITAL_KAFKA_AWAY')
  }
}

async function inTime (work: Promise<void>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => { reject(new KafkaError(`Kafka did not answer within ${timeoutMs} ms`)) }, timeoutMs)
  })
  try {
    await Promise.race([work, timeout])
  } finally {
    clearTimeout(timer)
  }
}

async function close (client: Producer | Admin): Promise<void> {
  await client.close()
}
