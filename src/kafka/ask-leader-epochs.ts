/**
 * Asks where the records of a leader epoch end. Kafka counts the leaders of each partition and notes in each batch
 * under which leader it was written. Brokers that have lost the end of a log, including acknowledged records, continue
 * under a later epoch. So a log was cut back if it now ends an epoch before a record of that epoch that was read or
 * acknowledged.
 *
 * @see KIP-320, KIP-101
 */
import type { Admin, BaseOptions, ConnectionPool } from '@platformatic/kafka'
import type { KafkaClient } from './load-client.ts'

/** Replica id of an ordinary client. */
const NO_REPLICA = -1

/** A leader epoch of a partition, such as that of a batch of records. */
export interface AskedEpoch {
  readonly topic: string
  readonly partition: number
  readonly leaderEpoch: number
}

/** The same, with the epoch of the leader that is asked. A broker whose epoch has changed refuses. */
export interface AskedOfLeader extends AskedEpoch {
  readonly currentLeaderEpoch: number
}

/** The end of an epoch in the log. */
export interface EpochEnd {
  readonly topic: string
  readonly partition: number
  /** The epoch that was asked for. */
  readonly askedEpoch: number
  /** The latest epoch of the log that is not later than the one asked for. -1: the log has no such epoch. */
  readonly leaderEpoch: number
  /** Offset behind the last record of `leaderEpoch`; -1 if that is -1. */
  readonly endOffset: number
}

/** Kafka's answer for one partition. */
export interface EpochAnswer extends EpochEnd {
  /** 0: no error, so the other fields are valid. */
  readonly errorCode: number
}

export interface AskOptions {
  readonly client: KafkaClient
  /** An admin client or a producer. */
  readonly admin: Pick<Admin, 'metadata'>
  /** Options of a client, from `toClientOptions`. */
  readonly connection: BaseOptions
  readonly requestTimeoutMs: number
}

/**
 * Asks the leaders, each with one request.
 * @param asked - one epoch of each partition
 * @returns in the order asked. Partitions without a leader, or whose leader has just changed, are missing: ask again
 * @throws errors of the client
 */
export async function askLeaderEpochs (
  { client, admin, connection, requestTimeoutMs }: AskOptions, asked: readonly AskedEpoch[]
): Promise<EpochEnd[]> {
  if (asked.length === 0) return []
  const { brokers, topics } = await admin.metadata({ topics: [...new Set(asked.map(({ topic }) => topic))], forceUpdate: true })
  const byLeader = new Map<number, AskedOfLeader[]>()
  for (const epoch of asked) {
    const partition = topics.get(epoch.topic)?.partitions[epoch.partition]
    if (partition === undefined || !brokers.has(partition.leader)) continue
    const ofLeader = byLeader.get(partition.leader) ?? []
    ofLeader.push({ ...epoch, currentLeaderEpoch: partition.leaderEpoch })
    byLeader.set(partition.leader, ofLeader)
  }
  const { clientId, bootstrapBrokers: _, ...options } = connection
  const pool = new client.ConnectionPool(clientId, { ...options, requestTimeout: requestTimeoutMs })
  try {
    const answers = (await Promise.all([...byLeader].map(async ([node, ofLeader]) =>
      await askLeader(client, await pool.get(brokers.get(node)!), ofLeader)))).flat()
    return asked.flatMap(({ topic, partition, leaderEpoch }) => answers.find((answer) => answer.errorCode === 0 &&
      answer.topic === topic && answer.partition === partition && answer.askedEpoch === leaderEpoch) ?? [])
  } finally {
    await pool.close()
  }
}

/**
 * Asks one broker, which leads the partitions.
 * @param asked - one epoch of each partition
 * @returns an answer for each, or an error's code
 * @throws errors of the client
 */
async function askLeader (
  client: KafkaClient, connection: Awaited<ReturnType<ConnectionPool['get']>>, asked: readonly AskedOfLeader[]
): Promise<EpochAnswer[]> {
  const topics = [...new Set(asked.map(({ topic }) => topic))].map((name) => ({
    name,
    partitions: asked.filter(({ topic }) => topic === name).map(({ partition, currentLeaderEpoch, leaderEpoch }) =>
      ({ partitionIndex: partition, currentLeaderEpoch, leaderEpoch }))
  }))
  const response = await client.offsetForLeaderEpochV4.api.async(connection, NO_REPLICA, topics).catch((error: unknown) => {
    // If one partition has an error, the client rejects; its error holds the answers of the other partitions.
    const { response } = error as { response?: Awaited<ReturnType<typeof client.offsetForLeaderEpochV4.api.async>> }
    if (response?.topics === undefined) throw error
    return response
  })
  return response.topics.flatMap(({ topic, partitions }) => partitions.map(({ partition, errorCode, leaderEpoch, endOffset }) => ({
    topic,
    partition,
    askedEpoch: asked.find((epoch) => epoch.topic === topic && epoch.partition === partition)!.leaderEpoch,
    errorCode,
    leaderEpoch,
    endOffset: Number(endOffset)
  })))
}
