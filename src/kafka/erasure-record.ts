/**
 * The marker of an erasure. Every partition of both topics gets one: records of the device before it are not stored,
 * and records behind it are new. It has a schema of its own. So a sink that does not know it stops and reports it, and
 * other consumers can skip it, or erase the device too.
 *
 *   {"erasure":"…","device":"ward-3","partitions":{"TOPIC ID":12,"TOPIC ID":12}}
 *
 * `erasure` is the same in all markers of an erasure. A partition may hold it twice; the first one counts. `partitions`
 * is the number of partitions of each topic that hold a marker. If partitions are added meanwhile, their markers have
 * the new number.
 */
import { isStoredDeviceId } from '../../schemas/device-id.ts'
import { isObject, type LogRecord, type Members, type OutgoingRecord, type Read, readRecord, toOutgoing } from './records.ts'

export const ERASURE_SCHEMA = 'erasure-1'
const SCHEMA_VALUE = Buffer.from(ERASURE_SCHEMA)

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** A partition of a topic. */
export interface LogPartition {
  readonly topic: string
  readonly topicId: string
  readonly partition: number
}

export interface ErasureMarker {
  /** UUID of the erasure. */
  readonly marker: string
  readonly device: string
  /** Partitions that hold a marker of the erasure, or will. */
  readonly partitions: ReadonlyArray<Omit<LogPartition, 'topic'>>
}

/** The record of a marker for one partition. */
export function toErasureRecord ({ topic, partition }: LogPartition, { marker, device, partitions }: ErasureMarker): OutgoingRecord {
  const counts: Record<string, number> = {}
  for (const { topicId, partition } of partitions) counts[topicId] = Math.max(counts[topicId] ?? 0, partition + 1)
  const value = JSON.stringify({ erasure: marker, device, partitions: counts })
  return { ...toOutgoing(topic, device, value, {}, SCHEMA_VALUE), partition }
}

/** Reads a record of {@link ERASURE_SCHEMA}. */
export function readErasureRecord (record: LogRecord): Read<ErasureMarker> {
  return readRecord(record, toMarker, ERASURE_SCHEMA)
}

function toMarker ({ erasure, device, partitions }: Members): ErasureMarker | string {
  if (typeof erasure !== 'string' || !UUID.test(erasure)) return '`erasure` is not a UUID'
  if (typeof device !== 'string' || !isStoredDeviceId(device)) return '`device` is not a device id'
  if (!isObject(partitions)) return '`partitions` is not an object'
  const counts = Object.entries(partitions)
  const isCounted = counts.every(([topicId, count]) => UUID.test(topicId) && Number.isInteger(count) && Number(count) > 0)
  if (!isCounted || counts.reduce((sum, [, count]) => sum + Number(count), 0) > PARTITIONS_MAX) {
    return '`partitions` is not a count by topic id'
  }
  return {
    marker: erasure,
    device,
    partitions: counts.flatMap(([topicId, count]) => Array.from({ length: Number(count) }, (_, partition) => ({ topicId, partition })))
  }
}

/** Bounds the rows that a foreign record can cause, over all topics. */
const PARTITIONS_MAX = 10_000
