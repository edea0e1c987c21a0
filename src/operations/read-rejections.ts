import type { Logger } from 'pino'
import type { Announcement } from '../../schemas/rejection.ts'
import type { KafkaConfig } from '../config/kafka-config.ts'
import { toClientOptions } from '../kafka/connection.ts'
import { loadKafkaClient } from '../kafka/load-client.ts'
import { REJECTIONS_TOPIC } from '../kafka/records.ts'
import { readRejectionRecord } from '../kafka/rejection-record.ts'
import { createTail } from '../sink/tail.ts'

interface ReadRejectionsOptions {
  readonly kafka: KafkaConfig
  /** Name that brokers log. */
  readonly clientId: string
  readonly announce: (announcement: Announcement) => void
  readonly logger: Logger
}

/**
 * Announces rejections that sinks write from now on.
 * @returns a function that ends it
 */
export async function readRejections ({ kafka, clientId, announce, logger }: ReadRejectionsOptions): Promise<() => Promise<void>> {
  const tail = createTail({
    client: await loadKafkaClient('VITAL_JOURNAL=kafka'),
    connection: await toClientOptions(kafka, clientId),
    topic: REJECTIONS_TOPIC,
    onRecord (record) {
      const read = readRejectionRecord(record)
      if (read.kind === 'read') announce(read.value)
      else logger.warn({ topic: REJECTIONS_TOPIC, ...read }, 'a rejection cannot be read, and is not announced')
    },
    logger
  })
  tail.start()
  return () => tail.stop()
}
