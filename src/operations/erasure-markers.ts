import type { Kysely } from 'kysely'
import { noteMarkers, registerLogErasure } from '../../db/erase/log-erasures.ts'
import { StorageError } from '../../db/storage-error.ts'
import type { Tables } from '../../db/tables.ts'
import { type LogPartition, toErasureRecord } from '../kafka/erasure-record.ts'
import { KafkaError, type KafkaLog } from '../kafka/kafka-log.ts'
import type { ErasureRequest } from '../../db/erase/erasure-requests.ts'
import type { ErasureRequestsOptions } from './erasure-requests.ts'

export interface ErasureMarkersOptions extends Pick<ErasureRequestsOptions, 'kysely' | 'onStep'> {
  readonly kysely: Kysely<Tables>
  readonly log: Pick<KafkaLog, 'partitions' | 'appendTo'>
}

/** Writes the markers of erasures into Kafka. */
export function createErasureMarkers ({ kysely, log, onStep }: ErasureMarkersOptions) {
  async function mark ({ device, id: request }: Pick<ErasureRequest, 'device' | 'id'>): Promise<number> {
    let known: readonly LogPartition[] = []
    for (;;) {
      const now = await log.partitions()
      const added = now.filter((place) => !known.some((other) => isSame(place, other)))
      // Partitions that were added meanwhile hold nothing older, but sinks would wait for a marker there for ever.
      const { id, marker, isCleared } = await registerLogErasure(kysely, { device, by: { request }, partitions: now })
      if (isCleared || added.length === 0) return id
      await onStep?.('registered')
      const written = await log.appendTo(added.map((place) => toErasureRecord(place, { marker, device, partitions: now })))
      await onStep?.('logged')
      await noteMarkers(kysely, id, written.map(({ topic, partition, offset }) =>
        ({ topicId: now.find((place) => place.topic === topic)!.topicId, partition, offset })))
      known = now
    }
  }

  /**
   * Called once every gateway has confirmed the request, or cannot write before it has dealt with it. Safe to run
   * again.
   * @returns the id in `log_erasures`, once every partition holds a marker and sinks no longer store records before it
   * @throws `VITAL_ERASURE_BUSY` while Kafka is away
   */
  return async (request: Pick<ErasureRequest, 'device' | 'id'>): Promise<number> => {
    try {
      return await mark(request)
    } catch (cause) {
      if (!(cause instanceof KafkaError)) throw cause
      throw new StorageError('VITAL_ERASURE_BUSY', `Kafka does not take the markers of the erasure: ${cause.message}.`, { cause })
    }
  }
}

const isSame = (one: LogPartition, other: LogPartition) => one.topicId === other.topicId && one.partition === other.partition
