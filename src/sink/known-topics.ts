import type { Admin } from '@platformatic/kafka'
import type { Kysely } from 'kysely'
import type { Logger } from 'pino'
import { selectOffsets } from '../../db/queries/select-offsets.ts'
import type { Tables } from '../../db/tables.ts'
import type { Place } from './place.ts'

interface KnownTopicsOptions {
  readonly admin: Pick<Admin, 'metadata' | 'listTopics'>
  readonly topics: readonly string[]
  readonly group: string
  readonly kysely: Kysely<Tables>
  readonly logger: Logger
}

/** The names of topics by id, which topics were deleted and created again, and which do not exist. */
export function createKnownTopics ({ admin, topics, group, kysely, logger }: KnownTopicsOptions) {
  /** Names by topic id. */
  const names = new Map<string, string>()
  /** Messages about topics that were created again under the same name, by topic id. */
  const remade = new Map<string, string>()
  let missing: readonly string[] = []

  return {
    /** Finds the name of a topic. @throws errors of Kafka */
    async find (topicId: string): Promise<string | undefined> {
      if (!names.has(topicId)) {
        const known = await admin.metadata({ topics: [...topics], forceUpdate: true })
        for (const [topic, { id }] of known.topics) names.set(id, topic)
      }
      return names.get(topicId)
    },

    /**
     * Called when a partition is claimed for the first time. Warns if its topic has replaced another one of that name.
     */
    async noteFirst ({ topic, topicId }: Place): Promise<void> {
      if (remade.has(topicId)) return
      const stored = (await selectOffsets(kysely)).filter(({ consumerGroup }) => consumerGroup === group)
      const former = stored.find((offset) => offset.topic === topic && offset.topicId !== topicId)
      if (former === undefined || stored.some((offset) => offset.topicId === topicId && offset.nextOffset > 0)) return
      // Its partitions are claimed concurrently, and another one may have been quicker.
      if (remade.has(topicId)) return
      const message = `${topic} was deleted and made again: it is read from its beginning. Records of the earlier topic that were not ` +
        'stored are lost'
      remade.set(topicId, message)
      logger.error({ topic, topicId, formerTopicId: former.topicId }, message)
    },

    /** Finds topics that do not exist. @throws errors of Kafka */
    async look (): Promise<void> {
      const there = await admin.listTopics()
      const before = missing
      missing = topics.filter((topic) => !there.includes(topic))
      for (const topic of missing) if (!before.includes(topic)) logger.error({ topic }, toMissing(topic))
    },

    warnings: (): string[] => [...remade.values(), ...missing.map(toMissing)]
  }
}

const toMissing = (topic: string) => `the topic ${topic} does not exist: run vital-gateway topics make`
