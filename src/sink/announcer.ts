/** Writes this sink's rejections to Kafka. Gateways read them and announce them to subscribers. */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Announcement } from '../../schemas/rejection.ts'
import { toKafkaMessage, type toClientOptions } from '../kafka/connection.ts'
import type { KafkaClient } from '../kafka/load-client.ts'
import type { OutgoingRecord } from '../kafka/records.ts'
import { toRejectionRecord } from '../kafka/rejection-record.ts'
import type { Submission } from '../ingest/submission.ts'

/** Bound on rejections that wait for Kafka. Beyond it they are not announced; each is still kept as a dead letter. */
const WAITING_BYTES_MAX = 4 * 1024 * 1024
const RECORDS_MAX = 1000
/** Waits between attempts. After the last attempt the rejections are dropped. */
const RETRIES_MS = [200, 1000, 5000] as const
const TOLD_EVERY_MS = 30_000

interface AnnouncerOptions {
  readonly client: KafkaClient
  readonly connection: Awaited<ReturnType<typeof toClientOptions>>
  readonly logger: Logger
}

/** Rejections since the start, by outcome. */
export interface AnnouncerStatistics {
  readonly written: number
  readonly dropped: number
}

export function createAnnouncer ({ client, connection, logger }: AnnouncerOptions) {
  const { ALL } = client.ProduceAcks
  const producer = new client.Producer({ ...connection, acks: ALL })
  const stopping = new AbortController()
  const statistics = { written: 0, dropped: 0 }
  const waiting: OutgoingRecord[] = []
  let bytes = 0
  let writing: Promise<void> | null = null
  let toldAtMs = -Infinity

  function drop (count: number, why: string): void {
    statistics.dropped += count
    if (performance.now() - toldAtMs < TOLD_EVERY_MS) return
    toldAtMs = performance.now()
    logger.warn({ reason: why }, 'rejections are not announced; the dead letters are stored')
  }

  async function write (records: OutgoingRecord[]): Promise<void> {
    for (const delayMs of [...RETRIES_MS, null]) {
      try {
        await producer.send({ messages: records, acks: ALL })
        statistics.written += records.length
        return
      } catch (error) {
        if (delayMs === null || stopping.signal.aborted) return drop(records.length, toKafkaMessage(error))
        await sleep(delayMs, undefined, { signal: stopping.signal }).catch(() => {})
      }
    }
  }

  async function writeAll (): Promise<void> {
    while (waiting.length > 0) {
      const records = waiting.splice(0, RECORDS_MAX)
      await write(records)
      for (const { value } of records) bytes -= value.length
    }
    // In the same turn as the last check of `waiting`, so that the next announcement starts a new loop.
    writing = null
  }

  return {
    statistics: (): AnnouncerStatistics => statistics,

    /** Announces the rejections of a submission. Called once its rows and letters are committed. */
    announce (submission: Submission): void {
      for (const record of toRejections(submission).map(toRejectionRecord)) {
        if (bytes + record.value.length > WAITING_BYTES_MAX) {
          drop(1, `${WAITING_BYTES_MAX} bytes of them wait for Kafka`)
          continue
        }
        waiting.push(record)
        bytes += record.value.length
      }
      if (waiting.length > 0) writing ??= writeAll()
    },

    /** Tries once more to write the waiting rejections. */
    async stop (): Promise<void> {
      stopping.abort()
      await writing
      await producer.close().catch(() => {})
    }
  }
}

/** Readings that PostgreSQL refused, and records that no gateway wrote. Gateways announced all other dead letters. */
function toRejections ({ rejections, letters }: Submission): Announcement[] {
  return [
    ...rejections.map(({ row: { device, receivedAtMs }, errors }) => ({
      id: randomUUID(),
      device,
      rejection: { reason: 'database_rejected' as const, errors: [...errors], receivedAt: receivedAtMs / 1000 }
    })),
    ...letters.flatMap(({ id, transport, device, reason, errors, receivedAtMs }) => transport === 'kafka' && device !== null
      ? [{ id, device, rejection: { reason, errors: [...errors], receivedAt: receivedAtMs / 1000 } }]
      : [])
  ]
}
