/**
 * Kafka as the journal of a gateway. Its topics are checked at the start and each minute. Topics that would refuse
 * readings, or could lose acknowledged ones, stop the start. Kafka may be away at the start: then the spool takes its
 * place.
 */
import type { Logger } from 'pino'
import type { StoredObserver } from '../../db/store.ts'
import type { Announcement } from '../../schemas/rejection.ts'
import type { Config } from '../config/config.ts'
import { ConfigError } from '../config/config-error.ts'
import { createKafkaTarget } from '../ingest/journal/kafka-target.ts'
import { KafkaError, createKafkaLog } from '../kafka/kafka-log.ts'
import { toMessageBytesMin } from '../kafka/limits.ts'
import type { TopicFault } from '../kafka/topics.ts'
import { readRejections } from './read-rejections.ts'

const CHECK_INTERVAL_MS = 60_000

export interface KafkaJournalOptions {
  readonly config: Pick<Config, 'kafka' | 'packetBytesMax'>
  /** Name of this gateway in the logs of brokers. */
  readonly clientId: string
  /** Called with readings that Kafka has acknowledged, before their devices are answered. */
  readonly observers: readonly StoredObserver[]
  /** See `createKafkaTarget`. */
  readonly seenErasure: () => number
  readonly logger: Logger
}

/** @throws `ConfigError` if Kafka's client cannot be loaded */
export async function openKafkaJournal ({ config, clientId, observers, seenErasure, logger }: KafkaJournalOptions) {
  const kafka = config.kafka!
  const log = await createKafkaLog({
    kafka, asked: 'VITAL_JOURNAL=kafka', clientId, messageBytesMin: toMessageBytesMin(config.packetBytesMax)
  })
  let faults: readonly TopicFault[] = []
  let checkedAtMs = -Infinity

  const isFatal = ({ kind }: TopicFault) => kind === 'wrong' || (kind === 'weak' && !kafka.isWeakAllowed)

  async function check (): Promise<void> {
    const told = new Set(faults.map(({ message }) => message))
    faults = await log.check()
    checkedAtMs = performance.now()
    for (const { message } of faults) if (!told.has(message)) logger.warn(`Kafka: ${message}`)
  }

  const target = createKafkaTarget({
    log,
    seenErasure,
    onLogged (readings) { for (const observe of observers) observe(readings) },
    warnings: () => faults.map(({ message }) => `Kafka: ${message}`)
  })

  return {
    statistics: log.statistics,
    close: log.close,
    partitions: log.partitions,
    findLost: log.findLost,
    onAcknowledged: log.onAcknowledged,
    appendTo: log.appendTo,
    target: {
      ...target,
      async ping () {
        // If Kafka was away at the start, this is the check that could not stop it.
        if (faults.some(isFatal) || performance.now() - checkedAtMs > CHECK_INTERVAL_MS) await check()
        const fault = faults.find(isFatal)
        if (fault !== undefined) throw new KafkaError(fault.message)
        await target.ping()
      }
    },

    announceRejections: (announce: (announcement: Announcement) => void) => readRejections({ kafka, clientId, announce, logger }),

    /**
     * Checks Kafka for the first time.
     * @returns whether Kafka takes readings; `false`: it is away
     * @throws `ConfigError` for topics that stop the start
     */
    async connect (): Promise<boolean> {
      try {
        await check()
        const fatal = faults.filter(isFatal)
        if (fatal.length > 0) throw new ConfigError(toRefusal(fatal))
        await target.ping()
        return true
      } catch (error) {
        if (!(error instanceof KafkaError)) throw error
        logger.error({ err: error }, 'Kafka does not answer; readings go to the spool until it does')
        return false
      }
    }
  }
}

function toRefusal (faults: readonly TopicFault[]): string {
  const isWeak = faults.every(({ kind }) => kind === 'weak')
  return `The topics of Kafka do not keep what is acknowledged:\n${faults.map(({ message }) => `  ${message}`).join('\n')}\n` +
    `Run vital-gateway topics make${isWeak ? ', or set VITAL_KAFKA_ALLOW_WEAK=true where losing readings is acceptable' : ''}.`
}
