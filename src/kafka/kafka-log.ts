/**
 * The log as a gateway writes it. A write resolves once every partition has acknowledged with acks=all: all replicas that
 * are in sync have it, and Kafka refuses a write where fewer are than `min.insync.replicas`. One partition that does not
 * acknowledge fails the whole write; what other partitions took is then in the log twice, and told apart by its id.
 *
 * The producer is not idempotent: its idempotence ends with one send, costs the pipelining of requests, and after an error
 * a repeat is a second record anyway. Nothing is repeated here but a send to a leader that has moved, once.
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
/** Afterwards the connection is closed: a broker that hangs, or a network that swallows, gives no other sign. */
const REQUEST_TIMEOUT_MS = 5000

/** Kafka did not take records. It names no record: what is logged must show no payload. */
export class KafkaError extends Error {
  /** `VITAL_KAFKA_REFUSED`: Kafka is there, and refuses these records by their size. */
  readonly code: 'VITAL_KAFKA_AWAY' | 'VITAL_KAFKA_REFUSED'

  constructor (message: string, code: KafkaError['code'] = 'VITAL_KAFKA_AWAY') {
    super(message)
    this.code = code
  }
}

interface KafkaLogOptions {
  readonly kafka: KafkaConfig
  /** What needs Kafka, for messages. */
  readonly asked: string
  /** As brokers log it. */
  readonly clientId: string
  /** The largest batch of records. */
  readonly messageBytesMin: number
}

/** What was written since the start, for the metrics. */
export interface KafkaStatistics {
  readonly records: number
  readonly bytes: number
  readonly requests: number
  readonly failures: number
  /** As last checked. */
  readonly topicFaults: number
}

/**
 * Connects to nothing before it is used.
 * @throws `ConfigError` where Kafka's client cannot be loaded, and for a file that cannot be read
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
   * @returns what is wrong with the topics
   * @throws {@link KafkaError} where Kafka does not answer
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
    /** Which of these records are lost. @throws {@link KafkaError} */
    findLost: (async (positions) => await translate(epochs.find(positions))) satisfies FindLost,
    /** @param listener - called with the last record of each partition of a write */
    onAcknowledged (listener: (positions: readonly LogPosition[]) => void): void {
      onAcknowledged = listener
    },
    statistics: (): KafkaStatistics => ({ ...statistics, topicFaults: topics?.faults.length ?? 0 }),

    /**
     * @returns once all in-sync replicas of every partition have them
     * @throws {@link KafkaError}; any of the records may be in the log all the same
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
     * Asks for the topics anew: each partition must have a leader, and as many replicas in sync as a write needs.
     * @throws {@link KafkaError}
     */
    async ping (): Promise<void> {
      await inTime(translate(ping()), PING_TIMEOUT_MS)
    },

    /** The partitions of both topics, as brokers know them now. @throws {@link KafkaError} */
    async partitions (): Promise<LogPartition[]> {
      const { topics } = await translate(producer.metadata({ topics: [...TOPICS], forceUpdate: true }))
      return [...topics].flatMap(([topic, { id: topicId, partitions }]) =>
        partitions.map((_, partition) => ({ topic, topicId, partition })))
    },

    /**
     * Writes each record into the partition that it names, which exists.
     * @returns their offsets, once all in-sync replicas have them
     * @throws {@link KafkaError}; any of the records may be in the log all the same
     */
    async appendTo (records: OutgoingRecord[]): Promise<Array<Omit<LogPartition, 'topicId'> & { readonly offset: number }>> {
      const { offsets = [] } = await translate(producer.send({ messages: records, acks: client.ProduceAcks.ALL }))
      return records.map(({ topic, partition }) => {
        const written = offsets.find((other) => other.topic === topic && other.partition === partition)
        if (written === undefined) throw new KafkaError(`Kafka did not acknowledge a record of ${topic}, partition ${partition}`)
        return { topic, partition, offset: Number(written.offset) }
      })
    },

    /** What has not been answered by then fails. */
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

/** At most `requestBytesMax` each, for a partition may get all of them. */
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

/** Errors of the client hold requests and answers, payloads among them. */
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
