/**
 * The settings that the topics need so that Kafka never loses acknowledged readings and never refuses readings. They
 * are made by `vital-gateway topics make`, and checked whenever a gateway starts.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Admin } from '@platformatic/kafka'
import type { KafkaClient } from './load-client.ts'
import { AVERAGES_TOPIC, LETTERS_TOPIC, READINGS_TOPIC, REJECTIONS_TOPIC } from './records.ts'

/** The topics of acknowledged inputs. */
export const TOPICS = [READINGS_TOPIC, LETTERS_TOPIC] as const

/** A fault of a topic. */
export interface TopicFault {
  readonly topic: string
  /**
   * `weak`: acknowledged readings may be lost, which the operator may allow. `wrong`: readings would be refused.
   * `minor`: no acknowledged reading depends on it.
   */
  readonly kind: 'weak' | 'wrong' | 'minor'
  /** Message for the operator, with the expected value. */
  readonly message: string
}

/** Result of a check of the topics. */
export interface Topics {
  readonly faults: readonly TopicFault[]
  /** Replicas that must be in sync for a write, by topic. */
  readonly inSyncMin: ReadonlyMap<string, number>
}

/** Wanted properties of the topics. */
export interface TopicWish {
  readonly partitions: number
  readonly replicas: number
  /** Size of the largest batch of records. */
  readonly messageBytesMin: number
  /** Whether to make the topic of averages too, which Flink fills. */
  readonly hasAverages?: boolean
}

/** A copy on each of three machines, of which two must have a batch before it is acknowledged. */
const REPLICAS_MIN = 3
const IN_SYNC_REPLICAS_MIN = 2

/** Settings of every topic. Kafka must not delete by itself, because it does not know which records are stored. */
const FIXED = {
  'cleanup.policy': 'delete',
  'retention.ms': '-1',
  'retention.bytes': '-1',
  'unclean.leader.election.enable': 'false',
  // With CreateTime Kafka refuses a whole batch if one record is an hour ahead, as it is if a gateway's clock is.
  'message.timestamp.type': 'LogAppendTime'
} as const

/** Retention of rejections, which are read at once or not at all. */
const REJECTIONS_RETENTION_MS = 3_600_000
const ALL_TOPICS = [...TOPICS, REJECTIONS_TOPIC] as const

/**
 * Settings of other topics that override {@link FIXED}. Of averages the latest record of each bucket is enough. It
 * expires after a month, or the topic would keep those of erased devices for ever.
 */
const OTHER: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  [REJECTIONS_TOPIC]: { 'retention.ms': String(REJECTIONS_RETENTION_MS) },
  [AVERAGES_TOPIC]: { 'cleanup.policy': 'compact,delete', 'retention.ms': String(30 * 86_400_000) }
}

const THERE_LOOKS = 50
const THERE_LOOK_MS = 100

const IN_SYNC = 'min.insync.replicas'
const MESSAGE_BYTES = 'max.message.bytes'

const WHY: Readonly<Record<keyof typeof FIXED, string>> = {
  'cleanup.policy': 'compaction keeps one reading of a device and deletes the others',
  'retention.ms': 'Kafka deletes readings by age, stored or not',
  'retention.bytes': 'Kafka deletes the oldest readings, stored or not',
  'unclean.leader.election.enable': 'a replica that lags may become leader, and the records that it lacks are lost',
  'message.timestamp.type': 'Kafka refuses whole batches where the clock of a gateway is an hour ahead'
}

const NO_REJECTIONS = `the topic ${REJECTIONS_TOPIC} does not exist, so rejections of sinks are not announced: run vital-gateway ` +
  'topics make'

interface Setting {
  readonly name: string
  readonly value: string
}

/** The current state of a topic. */
interface Topic {
  readonly name: string
  readonly partitions: number
  /** Number of replicas of the partition that has the fewest. */
  readonly replicas: number
  readonly settings: ReadonlyMap<string, string | null | undefined>
}

/**
 * Compares the topics with the settings that they need.
 * @param messageBytesMin - size of the largest batch of records
 * @throws errors of the client if Kafka does not answer
 */
export async function checkTopics (client: KafkaClient, admin: Admin, messageBytesMin: number): Promise<Topics> {
  const topics = await describeTopics(client, admin, ALL_TOPICS)
  const faults = TOPICS.flatMap((name): TopicFault[] => {
    const topic = topics.find((other) => other.name === name)
    return topic === undefined
      ? [{ topic: name, kind: 'wrong', message: `the topic ${name} does not exist: run vital-gateway topics make` }]
      : toFaults(topic, messageBytesMin)
  })
  if (!topics.some(({ name }) => name === REJECTIONS_TOPIC)) faults.push({ topic: REJECTIONS_TOPIC, kind: 'minor', message: NO_REJECTIONS })
  return { faults, inSyncMin: new Map(topics.map(({ name, settings }) => [name, Number(settings.get(IN_SYNC))])) }
}

function toFaults ({ name, replicas, settings }: Topic, messageBytesMin: number): TopicFault[] {
  const faults: TopicFault[] = []
  const add = (kind: TopicFault['kind'], message: string) => { faults.push({ topic: name, kind, message: `${name}: ${message}` }) }
  const inSync = Number(settings.get(IN_SYNC))
  if (replicas < REPLICAS_MIN) {
    add('weak', `its replication factor is ${replicas}, and must be ${REPLICAS_MIN}: acknowledged readings may be lost with one disk`)
  }
  if (inSync < IN_SYNC_REPLICAS_MIN) {
    add('weak', `${IN_SYNC} is ${inSync}, and must be ${IN_SYNC_REPLICAS_MIN}: one broker alone acknowledges`)
  }
  if (inSync > replicas) add('wrong', `${IN_SYNC} is ${inSync} of ${replicas} replicas: nothing can be written`)
  const bytes = Number(settings.get(MESSAGE_BYTES))
  if (bytes < messageBytesMin) add('wrong', `${MESSAGE_BYTES} is ${bytes}, and must be ${messageBytesMin}: a large batch is refused`)
  for (const [setting, wanted] of Object.entries(FIXED) as Array<[keyof typeof FIXED, string]>) {
    const found = settings.get(setting)
    if (found === wanted) continue
    add(setting === 'message.timestamp.type' ? 'wrong' : 'weak', `${setting} is ${found}, and must be ${wanted}: ${WHY[setting]}`)
  }
  return faults
}

/**
 * Makes missing topics, and changes the settings and the number of partitions of existing ones. It does not change a
 * replication factor: Kafka's own `kafka-reassign-partitions` moves replicas.
 * @returns a sentence for each change
 * @throws errors of the client
 */
export async function makeTopics (client: KafkaClient, admin: Admin, wish: TopicWish): Promise<string[]> {
  const { partitions, replicas } = wish
  const names = wish.hasAverages === true ? [...ALL_TOPICS, AVERAGES_TOPIC] : ALL_TOPICS
  const found = await describeTopics(client, admin, names)
  const done: string[] = []
  for (const name of names) {
    const settings = toSettings(name, wish)
    const topic = found.find((other) => other.name === name)
    if (topic === undefined) {
      await admin.createTopics({ topics: [name], partitions, replicas, configs: settings })
      done.push(`${name}: made, with ${partitions} partitions of ${replicas} replicas`)
    } else done.push(...await adapt(client, admin, topic, partitions, settings))
  }
  await whenThere(admin, names)
  return done
}

/** Waits until the brokers know the topics, a moment after the controller has made them. */
async function whenThere (admin: Admin, names: readonly string[]): Promise<void> {
  for (let look = 0; look < THERE_LOOKS; look++) {
    const there = await admin.listTopics()
    if (names.every((name) => there.includes(name))) return
    await sleep(THERE_LOOK_MS)
  }
}

function toSettings (topic: string, { replicas, messageBytesMin }: TopicWish): Setting[] {
  return Object.entries({
    ...FIXED,
    ...OTHER[topic],
    [IN_SYNC]: String(Math.min(IN_SYNC_REPLICAS_MIN, replicas)),
    [MESSAGE_BYTES]: String(messageBytesMin)
  }).map(([name, value]) => ({ name, value }))
}

async function adapt (
  client: KafkaClient, admin: Admin, topic: Topic, partitions: number, settings: readonly Setting[]
): Promise<string[]> {
  const { name } = topic
  const done: string[] = []
  const isLarger = (value: string, than: string | null | undefined) => Number(value) > Number(than)
  const changed = settings.filter((setting) => setting.name === MESSAGE_BYTES
    ? isLarger(setting.value, topic.settings.get(MESSAGE_BYTES))
    : topic.settings.get(setting.name) !== setting.value)
  if (changed.length > 0) {
    await admin.incrementalAlterConfigs({
      resources: [{
        resourceType: client.ConfigResourceTypes.TOPIC,
        resourceName: name,
        configs: changed.map((setting) => ({ ...setting, configOperation: client.IncrementalAlterConfigOperationTypes.SET }))
      }]
    })
    done.push(...changed.map((setting) => `${name}: ${setting.name} is ${setting.value} now`))
  }
  if (topic.partitions < partitions) {
    await admin.createPartitions({ topics: [{ name, count: partitions }] })
    done.push(`${name}: ${partitions} partitions now, of ${topic.partitions} before`)
  }
  return done.length === 0 ? [`${name}: nothing to do`] : done
}

/** The wanted topics that exist. */
async function describeTopics (client: KafkaClient, admin: Admin, wanted: readonly string[]): Promise<Topic[]> {
  const there = await admin.listTopics()
  const names = wanted.filter((name) => there.includes(name))
  if (names.length === 0) return []
  // A copy: the client sorts the list that it is given.
  const { topics } = await admin.metadata({ topics: [...names], forceUpdate: true })
  const described = await admin.describeConfigs({
    resources: names.map((resourceName) => ({
      resourceType: client.ConfigResourceTypes.TOPIC, resourceName, configurationKeys: [...Object.keys(FIXED), IN_SYNC, MESSAGE_BYTES]
    }))
  })
  return names.map((name) => {
    const configs = described.find(({ resourceName }) => resourceName === name)?.configs ?? []
    const partitions = topics.get(name)?.partitions ?? []
    return {
      name,
      partitions: partitions.length,
      replicas: Math.min(...partitions.map((partition) => partition.replicas.length)),
      settings: new Map(configs.map((config) => [config.name, config.value]))
    }
  })
}
